"""`lrtool report`: the same table and plots from the run directory alone."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Lrtool
from tests.report.made_runs import store
from tests.sweep.made_sweeps import story

WorkloadFile = Callable[[str], Path]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def shown(lrtool: Lrtool, workload_file: WorkloadFile, kept: Path) -> str:
    """What a measurement printed; its run is in `runs`, a copy of that which was measured for the first test."""
    if not (kept / "shown").exists():
        text = lrtool("range-test", workload_file("good"), "--repeats", "2").out
        Path("runs").rename(kept / "runs")
        (kept / "shown").write_text(text)
    shutil.copytree(kept / "runs", "runs")
    return (kept / "shown").read_text()


@pytest.mark.painted
def test_it_prints_and_draws_the_same_again(lrtool: Lrtool, shown: str) -> None:
    run_dir = Path("runs/0001-range-test")
    drawn = {name: (run_dir / name).read_bytes() for name in ("curve.png", "curve.svg", "curve.csv")}
    for name in drawn:
        (run_dir / name).unlink()

    assert lrtool("report", "last").out == shown
    assert {name: (run_dir / name).read_bytes() for name in drawn} == drawn


@pytest.mark.parametrize("name", ["last", "1", "0001", "runs/0001-range-test", "runs/0001-range-test/run.json"])
def test_a_run_is_named_by_number_path_or_last(lrtool: Lrtool, shown: str, name: str) -> None:
    assert lrtool("report", name).out == shown


def test_the_last_run_is_the_default(lrtool: Lrtool, shown: str) -> None:
    assert lrtool("report").out == shown


def test_json_is_the_document_the_measurement_printed(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    printed = lrtool("range-test", workload_file("good"), "--json").json

    assert lrtool("report", "--json").json == printed


def test_a_moved_run_directory_is_read_where_it_is(lrtool: Lrtool, shown: str) -> None:
    Path("runs/0001-range-test").rename("elsewhere")

    assert lrtool("report", "elsewhere", "--json").json["run_dir"] == "elsewhere"


@pytest.mark.parametrize("name", ["2", "last-but-one", "../..", ""])
def test_a_run_that_is_not_there(lrtool: Lrtool, shown: str, name: str) -> None:
    outcome = lrtool("report", name)

    assert outcome.code == 2
    assert outcome.err.splitlines()[-2].startswith("error: ")
    assert outcome.err.splitlines()[-1].startswith("hint: ")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"schema": 1', '"schema": 99'),
        lambda text: text.replace('"stopped"', '"halted"'),
        lambda text: text.replace('"num_steps": ', '"num_steps": "'),
        lambda text: "\x00" * 100,
    ],
    ids=["cut", "empty", "list", "schema", "key", "syntax", "zeros"],
)
def test_a_damaged_run_is_an_error_not_a_crash(lrtool: Lrtool, shown: str, damage: Callable[[str], str]) -> None:
    file = Path("runs/0001-range-test/run.json")
    file.write_text(damage(file.read_text()))
    outcome = lrtool("report", "1")

    assert outcome.code == 2
    assert "error: runs/0001-range-test/run.json is not a run lrtool can read" in outcome.err
    assert outcome.out == ""


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three trials with 7,000 steps each."""
    return store("mem-sweep", *story((3498, 3499, 3500)), tmp_path_factory.mktemp("runs") / "0001-mem-sweep")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("options", [[], ["--html"], ["--json"]], ids=["table and plots", "page", "document"])
def test_a_long_run_takes_little_memory_and_no_torch(long_run: Path, options: list[str]) -> None:
    code = (
        "import re, sys; from lrtool.cli import main\n"
        f"code = main({['report', str(long_run), *options]!r})\n"
        "peak_kib = re.search('VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]\n"  # ru_maxrss is the parent's too
        "print('used:', peak_kib, 'torch' in sys.modules, file=sys.stderr)\n"
        "sys.exit(code)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak_kib, has_torch = run.stderr.rpartition("used:")[2].split()

    assert int(peak_kib) < 300 * 1024
    assert has_torch == "False"
