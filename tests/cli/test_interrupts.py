"""Ctrl-C loses nothing that was finished, whenever it comes; nothing is removed that was there before."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import ROOT, WORKLOADS
from tests.conftest import Lrtool
from tests.processes import Started, start

LINGERS = str(WORKLOADS / "lingers.py")


def wait_for(pattern: str, *, count: int = 1, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while len(list(Path().glob(pattern))) < count:
        assert time.monotonic() < deadline, pattern
        time.sleep(0.02)


def interrupted(*command: str, file: Path, pattern: str) -> Started:
    """A command line that gets Ctrl-C once there is a file."""
    run = start(*command, file=file)
    wait_for(pattern)
    time.sleep(0.3)
    run.signal(signal.SIGINT)
    return run


def test_a_trial_that_has_stored_its_result_is_kept_although_its_process_has_not_ended(
    tmp_path: Path, lrtool: Lrtool
) -> None:
    command = ["mem-sweep", LINGERS, "--step-sizes", "4,5", "--recorder", "predicted", "--order", "given"]
    run = interrupted(*command, file=tmp_path / "shown", pattern="runs/*/trials/*/result.json")

    assert run.wait() == 130
    assert "interrupted after 1 of 2 trials" in run.err
    assert len(lrtool("report", "last", "--json").json["trials"]) == 1
    assert not Path("runs/0001-mem-sweep/trials/002").exists()


def test_the_only_trial_is_kept_too(tmp_path: Path, lrtool: Lrtool) -> None:
    command = ["mem-sweep", LINGERS, "--step-sizes", "4", "--recorder", "predicted"]
    run = interrupted(*command, file=tmp_path / "shown", pattern="runs/*/trials/*/result.json")

    assert run.wait() == 0  # all that was asked for is there
    assert lrtool("report", "last").code == 0


def test_an_interrupted_resume_removes_nothing_that_it_found(tmp_path: Path) -> None:
    command = ["mem-sweep", str(WORKLOADS / "waits_for_go.py"), "--step-sizes", "5,6", "--recorder", "predicted"]
    first = interrupted(*command, file=tmp_path / "first", pattern="runs/*/trials/*/trial.json")
    assert first.wait() == 130
    assert not Path("runs/0001-mem-sweep").exists()  # nothing was measured, and it was made for this run

    first = start(*command, file=tmp_path / "killed")
    wait_for("runs/*/trials/*/trial.json")
    first.signal(signal.SIGKILL)
    first.wait()
    (run_dir,) = Path("runs").iterdir()
    (run_dir / "notes.txt").write_text("mine")
    (trial,) = (run_dir / "trials").iterdir()
    (trial / "notes.txt").write_text("mine")
    resumed = interrupted("mem-sweep", "--resume", "last", file=tmp_path / "resumed", pattern="runs/*/trials/*/log.txt")

    assert resumed.wait() == 130
    assert "error: interrupted" in resumed.err
    assert (run_dir / "plan.json").is_file()
    assert (run_dir / "notes.txt").read_text() == (trial / "notes.txt").read_text() == "mine"


def test_a_second_process_cannot_write_into_a_run(tmp_path: Path, lrtool: Lrtool) -> None:
    command = ["mem-sweep", str(WORKLOADS / "waits_for_go.py"), "--step-sizes", "5", "--recorder", "predicted"]
    run = start(*command, file=tmp_path / "shown")
    wait_for("runs/*/trials/*/trial.json")
    refused = lrtool("mem-sweep", "--resume", "last")

    assert refused.code == 4
    assert f"is being written by process {run.pid}" in refused.err
    run.signal(signal.SIGKILL)
    run.wait()
    Path("go").touch()
    assert lrtool("mem-sweep", "--resume", "last").code == 0


def test_a_diagnosis_whose_figures_are_stored_is_kept(tmp_path: Path, lrtool: Lrtool) -> None:
    command = ["diagnose", LINGERS, "--steps", "5", "--recorder", "predicted", "--cures"]
    run = interrupted(*command, file=tmp_path / "shown", pattern="runs/*/trials/*/result.json")

    assert run.wait() == 130
    assert "the diagnosis is stored" in run.err
    assert lrtool("report", "last").code == 0


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3])
def test_ctrl_c_while_modules_are_imported_is_told_in_two_lines(delay_s: float) -> None:
    run = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "lrtool", "mem-sweep", LINGERS, "--step-sizes", "4"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.stderr is not None
    while "lrtool.entry" not in run.stderr.readline():
        pass
    time.sleep(delay_s)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)

    assert run.returncode == 130, err
    assert "Traceback" not in err
    assert "error: interrupted" in err


def test_reading_commands_do_not_speak_of_measuring(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lrtool.results.stored.run_dir.open_run", press)
    outcome = lrtool("report", "last")

    assert outcome.code == 130
    assert "measured" not in outcome.err
    assert outcome.out == ""
