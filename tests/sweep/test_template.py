"""Trials in processes that are forked from a template: clean memory, the present environment, and no need of a template."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lrtool.sweep import template
from lrtool.sweep.executors import SubprocessExecutor
from lrtool.sweep.plan import Plan
from tests.sweep.running import plan_of, run

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing is forked")
USER_FILE = """
import os, sys, torch
from pathlib import Path
sys.path.insert(0, {workloads!r})
from good import build as good

def build(batch_size=32):
    torch.trials = [*getattr(torch, "trials", []), os.getpid()]
    Path({folder!r}, f"{{os.getpid()}}-{{len(torch.trials)}}-{{os.environ.get('MARK')}}").touch()
    return good(batch_size)
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Two trials, each of which leaves a file that tells its process, its trials until now, and $MARK."""
    file, notes = tmp_path / "user.py", tmp_path / "notes"
    notes.mkdir()
    file.write_text(USER_FILE.format(folder=str(notes), workloads=str(Path(__file__).parents[1] / "workloads")))
    made = plan_of("good", step_sizes=(5, 6))
    return replace(made, setup=replace(made.setup, target=str(file)))


def notes_of(tmp_path: Path) -> list[list[str]]:
    return [path.name.split("-") for path in (tmp_path / "notes").iterdir()]


def test_what_one_trial_leaves_in_memory_the_next_does_not_find(plan: Plan, tmp_path: Path) -> None:
    trials = run(plan, tmp_path / "run", SubprocessExecutor())
    (first, *before), (second, *too) = notes_of(tmp_path)

    assert [trial.status for trial in trials] == ["ok", "ok"]
    assert first != second
    assert before == too == ["1", "None"]


def test_a_changed_environment_reaches_the_next_trials(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(plan, tmp_path / "first", SubprocessExecutor())
    monkeypatch.setenv("MARK", "x")
    run(plan, tmp_path / "second", SubprocessExecutor())

    assert sorted(mark for _, _, mark in notes_of(tmp_path)) == ["None", "None", "x", "x"]


def test_where_there_is_no_template_trials_are_started_afresh(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "MODULE", "lrtool.no_such_module")
    monkeypatch.setattr(template, "_TEMPLATES", [])
    trials = run(plan, tmp_path / "run", SubprocessExecutor())

    assert [trial.status for trial in trials] == ["ok", "ok"]
    assert len(notes_of(tmp_path)) == 2
