"""Exit code 1 is a gate's answer and nothing else: not a closed pipe, a full disk, or whatever user code may raise or do."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lrtool as package
from lrtool.cli import main
from lrtool.errors import EXIT_CODES
from tests import ROOT, WORKLOADS
from tests.cli.conftest import Stored
from tests.conftest import Lrtool
from tests.sweep.made_sweeps import flat

ANYTHING = str(WORKLOADS / "raises_anything.py")
PEAK = "peak_allocated"


def console(*command: str, stdout: int) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lrtool", *command], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip


def into_a_closed_pipe(*command: str) -> subprocess.CompletedProcess[str]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return console(*command, stdout=writer)
    finally:
        os.close(writer)


def on_a_full_disk(*command: str) -> subprocess.CompletedProcess[str]:
    with Path("/dev/full").open("w") as full:
        return console(*command, stdout=full.fileno())


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["check", "last", "--max", f"{PEAK}=1TiB"], 0),
        (["check", "last", "--max", f"{PEAK}=1B"], 1),
        (["check", "last", "--max", f"{PEAK}=1B", "--json"], 1),
        (["check", "last", "--max", f"{PEAK}=1B", "--format", "github"], 1),
        (["report", "last", "--json"], 0),
        (["--help"], 0),
        ([], 0),
    ],
)
def test_a_reader_that_has_gone_changes_no_answer(command: list[str], code: int, stored: Stored) -> None:
    stored(flat())
    ended = into_a_closed_pipe(*command)

    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("command", "code"),
    [("report last", 0), ("--help", 0), ("report nothing", 2), (f"check last --max {PEAK}=1B", 1), ("nonsense", 2)],
)
def test_closed_streams_change_no_answer(command: str, code: int, closed: str, stored: Stored) -> None:
    stored(flat())
    ended = shell(f"{sys.executable} -m lrtool {command} {closed}")

    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ("error:" in ended.stderr) is (code != 0 and "2>&-" not in closed)
    assert not ended.stdout or ">&-" not in closed.replace("2>&-", "")


@pytest.mark.parametrize("command", ["report last", "range-test model.py", "--help"])
@pytest.mark.parametrize("way", ["-m lrtool", "-c 'from lrtool.entry import run; run()'"])
def test_a_folder_that_was_removed_is_what_this_machine_cannot(command: str, way: str) -> None:
    ended = shell(f"mkdir gone && cd gone && rmdir ../gone && {sys.executable} {way} {command}")

    assert ended.returncode == 4, ended.stderr
    assert ended.stderr == "error: the current folder is not there any more\nhint: change to another one\n"


@pytest.mark.parametrize("command", ["report last --json", "report last --html", "compare last last", "report last"])
def test_a_backend_that_matplotlib_does_not_know_costs_nothing(command: str, stored: Stored) -> None:
    stored(flat())
    ended = shell(f"MPLBACKEND=nonsense {sys.executable} -m lrtool {command}")

    assert (ended.returncode, ended.stderr) == (0, "")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", [["report", "last"], ["report", "last", "--json"], ["--version"], ["cards"]])
def test_a_full_disk_behind_stdout_is_what_this_machine_cannot(command: list[str], stored: Stored) -> None:
    stored(flat())
    ended = on_a_full_disk(*command)

    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("kind", ["generator", "cancelled", "panic", "base"])
@pytest.mark.parametrize("where", ["build", "step"])
def test_what_user_code_raises_is_the_users(kind: str, where: str, lrtool: Lrtool) -> None:
    outcome = lrtool(
        "range-test", ANYTHING, "--param", f"kind={kind}", "--param", f"where={where}", "--num-steps", "30"
    )

    assert outcome.code == 3
    assert "on purpose" in outcome.err
    assert "raises_anything.py" in outcome.err


def test_it_is_the_users_in_a_trial_and_in_a_diagnosis_too(lrtool: Lrtool) -> None:
    where = ("--param", "kind=panic", "--param", "where=build", "--recorder", "predicted")
    sweep = lrtool("mem-sweep", ANYTHING, *where, "--step-sizes", "4")
    diagnosis = lrtool("diagnose", ANYTHING, *where, "--steps", "4")

    assert (sweep.code, diagnosis.code) == (3, 3)
    assert "PanicException: on purpose" in sweep.err
    assert "PanicException: on purpose" in diagnosis.err


@pytest.mark.parametrize("where", ["close", "replace", "close all"])
def test_descriptors_that_user_code_closes_lead_to_a_documented_code(where: str) -> None:
    command = ["range-test", ANYTHING, "--param", f"where={where}", "--num-steps", "30", "--device", "cpu"]
    ended = console(*command, stdout=subprocess.PIPE)

    assert ended.returncode in set(EXIT_CODES) - {1}
    assert "Traceback" not in ended.stderr
    if where != "close all":
        assert (ended.returncode, "base_lr" in ended.stdout) == (0, True)


def test_only_the_gates_error_has_exit_code_1() -> None:
    ways = [way for path in sorted(Path(package.__file__).parent.rglob("*.py")) for way in sorted(ways_to_1(path))]

    assert ways == ["cli/gating.py: GateFailed", "errors.py: EXIT_GATE", "errors.py: exit_code = EXIT_GATE"]


def ways_to_1(path: Path) -> set[str]:
    """Whatever in a module could make an exit code 1, but for what errors.py says of its meaning."""
    found = set()
    name = path.relative_to(Path(package.__file__).parent)
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Raise(exc=ast.Name(id="SystemExit")) | ast.Call(func=ast.Name(id="SystemExit")):
                found.add(f"{name}: SystemExit")
            case ast.Call(func=ast.Attribute(attr="exit" | "_exit"), args=[ast.Constant(value=1)]):
                found.add(f"{name}: exit(1)")
            case ast.Call(func=ast.Name(id="GateFailed")) | ast.Return(value=ast.Call(func=ast.Name(id="GateFailed"))):
                found.add(f"{name}: GateFailed")
            case ast.Assign(targets=[ast.Name(id="exit_code")], value=ast.Name(id="EXIT_GATE")):
                found.add(f"{name}: exit_code = EXIT_GATE")
            case ast.Assign(targets=[ast.Name(id="EXIT_GATE")]):
                found.add(f"{name}: EXIT_GATE")
            case ast.Name(id="EXIT_GATE") if path.name != "errors.py":
                found.add(f"{name}: EXIT_GATE")
    return found


@pytest.mark.parametrize("make", [lambda: SystemExit(1), lambda: SystemExit("no"), lambda: GeneratorExit()])
def test_nothing_that_escapes_a_command_is_1(
    make: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def escape(*_: object, **__: object) -> None:
        raise make()

    monkeypatch.setattr("lrtool.results.stored.run_dir.open_run", escape)

    assert main(["report", "last"]) == 70
