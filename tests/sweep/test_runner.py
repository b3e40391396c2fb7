"""A sweep goes on after any failing trial, keeps what is finished, and runs only what is missing."""

import json
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lrtool.errors import UsageError
from lrtool.results import Trial
from lrtool.sweep.executors.executor import Ended, Executor, Job
from lrtool.sweep.executors.subprocess import SubprocessExecutor
from lrtool.sweep.runner import conclude, resume_run, run_trials
from lrtool.units import format_duration
from tests.sweep.running import InlineExecutor, is_gone, plan_of, processes_of, run


def without_times(trials: Iterable[Trial]) -> list[Trial]:
    return [replace(trial, duration_s=0.0) for trial in trials]


class Interrupting:
    """Ctrl-C after so many trials."""

    def __init__(self, after: int) -> None:
        self._after = after

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]:
        for count, ended in enumerate(InlineExecutor().run(jobs), 1):
            yield ended
            if count == self._after:
                raise KeyboardInterrupt


class Noting:
    """Keeps how each trial's process ended."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.endings: list[Ended] = []

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]:
        for ended in self._executor.run(jobs):
            self.endings.append(ended)
            yield ended


def test_every_trial_leaves_its_files_and_the_table_grows(tmp_path: Path) -> None:
    run(plan_of("good", step_sizes=(5, 6), batch_size=(16,)), tmp_path)
    table = pd.read_csv(tmp_path / "trials.csv")

    assert sorted(p.name for p in (tmp_path / "trials/002").iterdir()) == [
        "log.txt", "lrs.csv", "result.json", "steps.csv", "trial.json",
    ]  # fmt: skip
    assert list(table["step_size_up"]) == [5, 6]
    assert list(table["param_batch_size"]) == [16, 16]
    assert json.loads((tmp_path / "trials/002/result.json").read_text())["status"] == "ok"


def test_all_that_can_happen_to_a_process_is_a_result(tmp_path: Path) -> None:
    """Each in a process of its own, two at once: whatever ends one leaves the others alone."""
    plan = plan_of("ends_badly", params={"how": "kill,segfault,exit,well"}, order="given")
    killed, segfault, left, well = run(plan, tmp_path, SubprocessExecutor(slots=[{}, {}]))

    assert [t.status for t in (killed, segfault, left, well)] == ["killed", "killed", "failed", "ok"]
    assert "SIGKILL" in (killed.message or "")
    assert "SIGSEGV" in (segfault.message or "")
    assert left.message == "its process ended with exit code 9"
    assert well.num_steps_done == 10


def test_what_user_code_does_besides_training_leaves_the_sweep_alone(tmp_path: Path) -> None:
    """Each would, in the sweep's own process, spoil what comes after it."""
    harmless = ["change-directory", "close-output", "print-much", "seed"]
    plan = plan_of("ends_badly", params={"how": ",".join([*harmless, "delete-run"])}, order="given")
    executor = Noting(SubprocessExecutor(slots=[{}, {}], timeout_s=120))
    *trials, without_folder = run(plan, tmp_path, executor)

    assert [(t.condition.params["how"], t.status) for t in trials] == [(how, "ok") for how in harmless]
    assert without_folder.status == "failed"
    assert (tmp_path / "trials/005/result.json").is_file()
    assert not any(ended.timed_out for ended in executor.endings)


@pytest.mark.parametrize("how", ["fork", "start-thread"])
def test_what_user_code_leaves_running_ends_with_its_trial(how: str, tmp_path: Path) -> None:
    executor = Noting(SubprocessExecutor(timeout_s=60))
    (trial,) = run(plan_of("ends_badly", params={"how": how}), tmp_path, executor)

    assert trial.status == "ok"
    assert [(ended.exit_code, ended.timed_out) for ended in executor.endings] == [(0, False)]
    assert all(is_gone(pid, within_s=60) for pid in processes_of(tmp_path))


def test_a_trial_that_hangs_is_ended_after_its_time(tmp_path: Path) -> None:
    (hung,) = run(plan_of("ends_badly", params={"how": "hang"}), tmp_path, SubprocessExecutor(timeout_s=1.0))

    assert (hung.status, hung.message) == ("timeout", f"not done after {format_duration(hung.duration_s)}")
    assert hung.duration_s >= 1.0


def test_a_resumed_sweep_equals_an_undisturbed_one(tmp_path: Path) -> None:
    plan = plan_of("good", step_sizes=(5, 6, 7))
    whole = run(plan, tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    cut = run(plan, tmp_path / "cut", Interrupting(after=1))
    assert (len(cut), [t.position for t in cut]) == (1, [0])

    began: list[int] = []
    resumed = resume_run(tmp_path / "cut")
    finished = run_trials(
        resumed, tmp_path / "cut", InlineExecutor(), on_trial=lambda trial, *_: began.append(trial.number)
    )

    assert resumed == plan
    assert len(began) == 2
    assert cut[0].number not in began
    assert without_times(report.trial for report in finished.reports) == without_times(whole)
    assert not finished.was_interrupted


def test_an_interrupted_trial_leaves_no_result(tmp_path: Path) -> None:
    run(plan_of("good", step_sizes=(5, 6, 7)), tmp_path, Interrupting(after=2))

    assert len(list((tmp_path / "trials").iterdir())) == 2
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 2


def test_trials_run_in_their_order(tmp_path: Path) -> None:
    plan = plan_of("good", step_sizes=(5, 6, 7, 8))
    ran: list[int] = []
    (tmp_path / "run").mkdir()
    run_trials(plan, tmp_path / "run", InlineExecutor(), on_trial=lambda trial, *_: ran.append(trial.position))

    assert ran == [0, 1, 2, 3]


def test_the_sweep_knows_the_lrs_its_trials_ran_with(tmp_path: Path) -> None:
    plan = plan_of("good", step_sizes=(5, 6))
    run(plan, tmp_path)
    finished = run_trials(plan, tmp_path, InlineExecutor(), on_trial=lambda *_: None)
    result = conclude(plan, finished.reports, tmp_path, duration_s=1.0)

    assert result.base_lr == pytest.approx(0.01)
    assert result.max_lr == 0.1
    assert result.verdict.step_size_matters is False
    assert result.verdict.max_abs_difference_at_equal_steps_bytes == 0


def test_only_sweeps_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no plan\.json"):
        resume_run(tmp_path)
