"""`lrtool check` and `lrtool baseline`: stored runs against limits, in every format, with an exit code for CI."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import DOCS
from tests.cli.conftest import Stored
from tests.cli.test_bad_input import check_told
from tests.conftest import Lrtool, Outcome
from tests.sweep.made_sweeps import Made, flat, noisy_axes, story

PASSES = ("--max", "peak_allocated=14MiB", "--max", "growth=0")
FAILS = ("--max", "peak_allocated=4MiB", "--max", "growth=0")
UNKNOWN = ("--max", "peak_allocated=4TiB")


def no_annotations(outcome: Outcome) -> str:
    assert "::" not in outcome.out
    return outcome.out


def text_of(outcome: Outcome, folder: Path) -> list[str]:
    rows = [line.split() for line in no_annotations(outcome).splitlines() if line.startswith("peak_allocated  ")]
    return [rows[0][-1].lower()]


def json_of(outcome: Outcome, folder: Path) -> list[str]:
    document = outcome.json
    assert (document["schema"], document["command"]) == (1, "check")
    return [line["verdict"] for line in document["lines"] if line["metric"] == "peak_allocated"]


def github_of(outcome: Outcome, folder: Path) -> list[str]:
    commands = [line for line in outcome.out.splitlines() if line.startswith("::")]
    assert all("\n" not in line and "title=lrtool check%3A peak_allocated::" in line for line in commands)
    found = {"error": "over", "warning": "unknown"}
    return [found[line[2:].split(" ")[0]] for line in commands] or ["ok"]


def junit_of(outcome: Outcome, folder: Path) -> list[str]:
    suite = ElementTree.parse(folder / "lrtool-junit.xml").getroot()[0]
    case = next(case for case in suite if case.attrib["name"].startswith("peak_allocated"))
    found = {"failure": "over", "error": "unknown"}
    verdicts = [found[child.tag] for child in case if child.tag in found] or ["ok"]
    assert (suite.attrib["failures"], suite.attrib["errors"]) == (
        str(verdicts.count("over")), str(verdicts.count("unknown")),
    )  # fmt: skip
    return verdicts


@pytest.mark.parametrize(
    ("limits", "verdict", "code"), [(PASSES, "ok", 0), (FAILS, "over", 1), (UNKNOWN, "unknown", 3)],
    ids=["passes", "fails", "unknown"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (("--format", "text"), text_of),
        (("--json",), json_of),
        (("--format", "github"), github_of),
        (("--format", "junit"), junit_of),
    ],
    ids=["text", "json", "github", "junit"],
)
def test_every_format_says_the_same(
    lrtool: Lrtool, stored: Stored, tmp_path: Path, limits: tuple[str, ...], verdict: str, code: int,
    arguments: tuple[str, ...], read: Callable[[Outcome, Path], list[str]],
) -> None:  # fmt: skip
    stored(noisy_axes() if verdict == "unknown" else flat())
    outcome = lrtool("check", "last", *limits, *arguments)

    assert read(outcome, tmp_path) == [verdict]
    assert outcome.code == code
    assert ("error: " in outcome.err) is (code != 0)


def test_the_answer_comes_first_and_the_way_on_last(lrtool: Lrtool, stored: Stored) -> None:
    stored(story())
    outcome = lrtool("check", "--max", "peak_allocated=14GiB", "--max", "growth=0")
    lines = outcome.out.splitlines()

    assert lines[0].startswith("Failed: peak_allocated at step_size_up 3500 is 23.9 GiB, 9.88 GiB above its limit")
    assert "out of memory at step 6,625 of 7,000" in lines[0]
    assert lines[-1] == "Checked runs/0001-mem-sweep. Next: lrtool report runs/0001-mem-sweep"
    assert any("3.58 MiB per step" in line and "train.py:41" in line for line in lines)
    assert max(map(len, lines[1:-1])) <= 80
    assert outcome.code == 1
    assert outcome.err.splitlines()[0].startswith("error: peak_allocated at step_size_up 3500")


def test_a_baseline_is_one_small_file_that_later_runs_are_held_against(lrtool: Lrtool, stored: Stored) -> None:
    stored(flat())
    written = lrtool("baseline", "last", "-o", "memory-baseline.json")

    assert written.code == 0
    assert written.out.splitlines()[0] == "Baseline of train.py:build, 3 conditions."
    assert written.out.splitlines()[-1].startswith("Wrote memory-baseline.json (")
    assert Path("memory-baseline.json").stat().st_size < 8192

    assert lrtool("check", "--baseline", "memory-baseline.json").code == 0
    stored(higher(flat(), 1.5))
    outcome = lrtool("check", "--baseline", "memory-baseline.json", "--max-increase", "peak_allocated:5%")
    assert outcome.code == 1
    assert "went from 5.00 MiB to 7.50 MiB" in outcome.out
    assert lrtool("check", "2", "--baseline", "1", "--max-increase", "5%").code == 1
    assert lrtool("check", "2", "--baseline", "1", "--max-increase", "peak_allocated:3MiB").code == 0


def higher(made: Made, times: float) -> Made:
    """The same sweep with higher peaks."""
    sweep, series = made
    trials = [
        replace(trial, max_memory_allocated_bytes=round((trial.max_memory_allocated_bytes or 0) * times))
        for trial in sweep.trials
    ]
    return replace(sweep, trials=tuple(trials)), series


@pytest.mark.parametrize(
    ("made", "environment", "differs"),
    [
        (flat(), {"torch": "2.12.0"}, "torch 2.12.0 here, 2.13 in the baseline"),
        ((replace(flat()[0], card="RTX 4090"), {}), {}, "GPU RTX 4090 here, unknown in the baseline"),
        ((replace(flat()[0], recorder="cpu"), {}), {}, "recorder cpu here, predicted in the baseline"),
        (flat(sizes=(20, 99)), {}, None),
    ],
    ids=["torch", "card", "recorder", "fewer trials in common"],
)
def test_what_cannot_be_compared_is_no_regression(
    lrtool: Lrtool, stored: Stored, made: Made, environment: dict[str, str], differs: str | None
) -> None:
    stored(flat())
    lrtool("baseline")
    stored(made, **environment)
    outcome = lrtool("check", "--baseline", "memory-baseline.json")

    assert outcome.code == (0 if differs is None else 4)
    if differs is not None:
        assert differs in outcome.err
        assert "--allow-different" in outcome.err.splitlines()[-1]
        assert lrtool("check", "--baseline", "memory-baseline.json", "--allow-different").code == 0


def test_the_budget_of_a_settings_file_and_the_command_line_over_it(lrtool: Lrtool, stored: Stored) -> None:
    stored(flat())
    Path("pyproject.toml").write_text(
        '[tool.lrtool.budget]\nmax = {peak-allocated = "4MiB", growth = 0}\nmin = {max_lr = 0.01}\n'
    )

    assert lrtool("check").code == 1
    raised = lrtool("check", "--max", "6MiB", "--json")
    assert raised.code == 0
    assert [line["limit"] for line in raised.json["lines"]] == ["≤ 6.00 MiB", "≤ 0 B"]
    assert raised.json["notes"] == ["not held: `lrtool mem-sweep` does not measure max_lr"]


def test_a_baseline_in_a_settings_file_is_beside_that_file(
    lrtool: Lrtool, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = stored(flat()).resolve()
    lrtool("baseline", "-o", "memory-baseline.json")
    Path("lrtool.toml").write_text('budget = {baseline = "memory-baseline.json"}\n')
    Path("below").mkdir()
    monkeypatch.chdir("below")

    assert lrtool("check", run_dir).code == 0


def test_limits_are_repeatable_and_named_by_the_environment_too(
    lrtool: Lrtool, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(flat())
    monkeypatch.setenv("LRTOOL_BASELINE", "1")

    assert lrtool("check", "--max", "peak_reserved=1GiB", "--json").json["baseline"] == "1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to check"),
        (["--max", "peak_alocated=3GiB"], "'peak_alocated' is no metric that can be gated"),
        (["--max", "peak_allocated=lots"], "'lots' is no limit of peak_allocated"),
        (["--max-increase", "5%"], "an increase needs a baseline"),
        (["--max", "best_loss=1"], "`lrtool mem-sweep` does not measure best_loss"),
        (["--baseline", "none.json"], "there is no baseline none.json"),
        (["--baseline", "7"], "no run '7'"),
        (["--baseline", "bad.json"], "bad.json is no baseline lrtool can read"),
        (["--max", "1GiB", "--format", "xml"], "--format 'xml' is not one of its values"),
        (["7", "--max", "1GiB"], "no run '7'"),
    ],
)
def test_what_is_wrong_is_told_in_two_lines(lrtool: Lrtool, stored: Stored, arguments: list[str], message: str) -> None:
    stored(flat())
    Path("bad.json").write_text("{}")

    check_told(lrtool("check", *arguments), 2, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[budget]\nmaxi = {}\n", "budget.maxi: no such setting"),
        ("[budget.max]\ngroth = 0\n", "budget: 'groth' is no metric"),
        ("[budget]\nmax = 5\n", "budget.max: 5 should be"),
        ("[budget.max]\ngrowth = 'fast'\n", "budget: 'fast' is no limit of growth"),
        ("[budget]\nallow-different = 'yes'\n", "budget.allow-different: 'yes' should be"),
    ],
)
def test_a_budget_that_is_wrong(lrtool: Lrtool, stored: Stored, text: str, message: str) -> None:
    stored(flat())
    Path("lrtool.toml").write_text(text)

    check_told(lrtool("check"), 2, message)


def test_a_junit_file_that_cannot_be_written(lrtool: Lrtool, stored: Stored) -> None:
    stored(flat())

    check_told(lrtool("check", *PASSES, "--format", "junit", "-o", "no/such/folder.xml"), 4, "cannot write")


def test_hostile_names_stay_in_their_place(lrtool: Lrtool, stored: Stored, tmp_path: Path) -> None:
    """A line of source code may hold anything: line breaks, ANSI, markup, or what looks like a workflow command."""
    sweep, series = story()
    nasty = "x = '\x1b[31m[red]<script>'\n::error::hijacked % ::"
    trials = [
        replace(trial, growth_sources=tuple(replace(source, line=nasty) for source in trial.growth_sources))
        for trial in sweep.trials
    ]
    stored((replace(sweep, trials=tuple(trials)), series))
    shown = lrtool("check", "--max", "growth=0", "--format", "github")
    lrtool("check", "--max", "growth=0", "--format", "junit")

    assert len([line for line in shown.out.splitlines() if line.startswith("::")]) == 1
    assert "\x1b" not in shown.out
    assert "<script>" in "".join(ElementTree.parse(tmp_path / "lrtool-junit.xml").getroot().itertext())


def test_an_error_points_at_the_line_that_grew(lrtool: Lrtool, stored: Stored) -> None:
    Path("train.py").write_text("")
    stored(story())
    outcome = lrtool("check", "--max", "growth=0", "--format", "github")

    assert "::error file=train.py,line=41,title=" in outcome.out


def large_run(stored: Stored) -> Path:
    return stored(story(sizes=(3500, 3501, 3502)))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads how much memory was used from /proc")
@pytest.mark.parametrize("command", ["check", "report", "compare"])
def test_large_runs_need_neither_torch_nor_much_memory(stored: Stored, command: str) -> None:
    """Three trials of 7,000 steps; how long it takes is measured by benchmarks/reading_cost.py."""
    run_dir = str(stored(story(sizes=(3500, 3501, 3502))))
    arguments = {"check": ["--max", "peak_allocated=4TiB"], "report": [], "compare": [run_dir]}[command]
    code = (
        "import sys; from lrtool.cli import main\n"
        f"main({[command, run_dir, *arguments]!r})\n"
        "assert 'torch' not in sys.modules\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(run.stderr.split()[-1]) * 1024 < 300 * 2**20


@pytest.mark.parametrize("command", [("range-test", "--num-steps", "20"), ("replay", "split.jsonl")])
def test_measuring_commands_check_what_they_measured(lrtool: Lrtool, command: tuple[str, ...], tmp_path: Path) -> None:
    """Without a budget they refuse before they measure."""
    trace = DOCS / "split.jsonl"
    (tmp_path / "split.jsonl").write_bytes(trace.read_bytes())
    check_told(lrtool(*command, "--check"), 2, "there is nothing to check")
    Path("lrtool.toml").write_text("[budget]\nmax = {best_loss = 0.000001, peak_allocated = '1B'}\n")
    shown, document = lrtool(*command, "--check"), lrtool(*command, "--check", "--json")

    assert (shown.code, document.code) == (1, 1)
    assert "\nFailed: " in shown.out
    assert shown.out.splitlines()[-1].startswith("Wrote ")
    assert document.json["check"]["passed"] is False


def test_a_sweep_checks_what_it_measured(lrtool: Lrtool, workload_file: Callable[[str], Path]) -> None:
    Path("budget.toml").write_text("[budget.max]\npeak_allocated = '1GiB'\ngrowth = 0\n")
    arguments = ("mem-sweep", workload_file("good"), "--step-sizes", "4", "--config", "budget.toml")
    passed = lrtool(*arguments, "--check", "--json")

    assert passed.code == 0
    assert passed.json["check"]["answer"] == "Passed: all 2 limits hold."
    assert passed.json["trials"][0]["peak_shares"][0]["num_bytes"] > 0

    Path("budget.toml").write_text("[budget.max]\npeak_allocated = '1KiB'\n")
    failed = lrtool(*arguments, "--check")
    assert failed.code == 1
    assert "uses" in failed.out
    assert json.loads(Path("runs/0002-mem-sweep/run.json").read_text())["command"] == "mem-sweep"
