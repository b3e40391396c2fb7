"""Trials of the command line, forked from its own process: each finds what a trial finds that is started afresh."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lrtool.sweep.executors import own_template, template
from tests import WORKLOADS
from tests.sweep.executors.test_template import told, without_dynamo

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing is forked")
ROOT = str(Path(template.__file__).parents[3])
TELLING = f"""
import sys
def build(folder: str):
    sys.path.append({str(WORKLOADS)!r})
    from tells_of_its_process import build
    return build(folder)
"""
SWEEP = """
import sys
from lrtool.cli import run_to_end
from lrtool.sweep.executors import subprocess, template
subprocess.CAN_FORK = sys.argv.pop(1) == "forked"
code = run_to_end()
print(*(type(each._process).__name__ for each in template._TEMPLATES), code, file=sys.stderr)
sys.exit(code)
"""


def swept(*words: str, folder: Path, how: str = "forked") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SWEEP, how, "mem-sweep", *words, "--step-sizes", "2"],
        env={**os.environ, "PYTHONPATH": ROOT},
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def process_of(folder: Path, how: str) -> dict[str, Any]:
    """What a trial told of its process, without the one flag that is of the command's start: whether that was with -P."""
    notes = folder / how
    notes.mkdir()
    words = ("--recorder", "cpu", "--out", str(folder / "runs"), "--param", f"folder={notes}")
    ended = swept(str(folder / "model.py"), *words, folder=folder, how=how)
    assert ended.stderr.splitlines()[-1] == ("OwnFork 0" if how == "forked" else "0"), ended.stderr
    process = without_dynamo(told(notes)[0]["process"])
    return {**process, "flags": process["flags"].partition("safe_path")[0]}


def test_a_trial_of_the_command_line_finds_what_one_finds_that_is_started_afresh(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(TELLING)

    assert process_of(tmp_path, "forked") == process_of(tmp_path, "afresh")


def test_trials_that_end_badly_are_told_as_ever(tmp_path: Path) -> None:
    words = ("--recorder", "predicted", "--json", "--param", "how=well,crash,exit,kill,sys-exit")
    ended = swept(str(WORKLOADS / "ends_badly.py"), *words, folder=tmp_path)
    trials = json.loads(ended.stdout)["trials"]

    assert ended.stderr.splitlines()[-1] == "OwnFork 0"
    assert {each["params"]["how"]: each["status"] for each in trials} == {
        "well": "ok", "crash": "failed", "exit": "failed", "kill": "killed", "sys-exit": "failed",
    }  # fmt: skip


@pytest.mark.parametrize("owner", [[], [os.getpid()]], ids=["somebody's", "a command line's that has loaded torch"])
def test_a_process_that_does_other_things_is_no_template(monkeypatch: pytest.MonkeyPatch, owner: list[int]) -> None:
    monkeypatch.setattr(template, "_TEMPLATES", [])
    monkeypatch.setattr(own_template, "_owner", owner)
    if owner:
        monkeypatch.setitem(sys.modules, "torch", sys)
    template.begin_own_template(lambda: os.environ)

    assert template._TEMPLATES == []
