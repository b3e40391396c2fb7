"""Runs a plan's trials, stores each as it ends, and brings them together; what is stored already is not run again."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import starmap
from pathlib import Path

from lrtool.errors import UsageError
from lrtool.results import Condition, MemSweep, StepSeries, Trial
from lrtool.results.stored.run_dir import write_file
from lrtool.results.stored.trial_dir import (
    PLAN_FILE,
    TABLE_FILE,
    read_json,
    read_series,
    trial_dir,
    trials_csv,
    write_json,
)
from lrtool.sweep.executors.executor import Executor, Job
from lrtool.sweep.plan import Plan, shown_conditions
from lrtool.sweep.reports import SWEEP_TRIAL, TrialFile, TrialReport
from lrtool.sweep.verdict import conclude_sweep

ENDED_FROM_OUTSIDE = ("killed", "interrupted")
"""A resumed run tries these trials again: it was not they that failed."""
OnTrial = Callable[[Trial, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The trials that are done, by number; `was_interrupted` says that Ctrl-C came before the last one."""

    reports: tuple[TrialReport, ...]
    was_interrupted: bool


def begin_run(run_dir: Path, plan: Plan) -> None:
    """Store what is going to run, so that it can be resumed. Raises UnavailableError."""
    # with the true values of build()'s arguments, tokens among them, which the trials left over need
    write_json(run_dir / PLAN_FILE, asdict(plan), is_private=True)


def resume_run(run_dir: Path) -> Plan:
    """The plan of a run directory. Raises UsageError where it is not one of mem-sweep."""
    if not (run_dir / PLAN_FILE).is_file():
        raise UsageError(f"{run_dir} holds no {PLAN_FILE}", hint="only runs of mem-sweep can be resumed")
    return read_json(run_dir / PLAN_FILE, Plan)


def run_trials(plan: Plan, run_dir: Path, executor: Executor, *, on_trial: OnTrial) -> Finished:
    """Run the trials that have no result yet, each stored as it ends; Ctrl-C ends those that run, and they count as not run.

    A trial that has stored its result counts as run, also where Ctrl-C came before that was noticed here. `on_trial` is told
    of each new trial, how many are done and how many there are.
    """
    shown = shown_conditions(plan.trials)
    stored = {report.trial.number: _shown(report, shown) for report in _stored(plan, run_dir)}
    reports = {number: report for number, report in stored.items() if report.trial.status not in ENDED_FROM_OUTSIDE}
    to_run = {
        trial_dir(run_dir, trial.number): TrialFile(setup=plan.setup, trial=trial)
        for trial in sorted(plan.trials, key=lambda trial: trial.position)
        if trial.number not in reports
    }
    there_before = {folder for folder in to_run if folder.exists()}
    was_interrupted = False
    try:
        with closing(executor.run(starmap(_job, to_run.items()))) as endings:
            for ended in endings:
                report = _shown(SWEEP_TRIAL.collect(ended, to_run[ended.folder]), shown)
                reports[report.trial.number] = report
                write_file(run_dir / TABLE_FILE, trials_csv(reports[number].trial for number in sorted(reports)))
                on_trial(report.trial, len(reports), len(plan.trials))
    except KeyboardInterrupt:
        reports = {report.trial.number: _shown(report, shown) for report in _stored(plan, run_dir)}
        was_interrupted = len(reports) < len(plan.trials)
        for folder in to_run.keys() - there_before - {trial_dir(run_dir, number) for number in reports}:
            shutil.rmtree(folder, ignore_errors=True)
    return Finished(reports=tuple(reports[number] for number in sorted(reports)), was_interrupted=was_interrupted)


def _shown(report: TrialReport, conditions: Mapping[int, Condition]) -> TrialReport:
    """With the condition of the plan that secrets are masked in, each value of them in its own way."""
    condition = conditions.get(report.trial.number, report.trial.condition)
    return replace(report, trial=replace(report.trial, condition=condition))


def conclude(plan: Plan, reports: Sequence[TrialReport], run_dir: Path, *, duration_s: float) -> MemSweep:
    """The sweep's result, from its trials and their steps."""
    trials = tuple(report.trial for report in reports)
    lrs = {(report.base_lr, report.max_lr) for report in reports if report.max_lr is not None}
    base_lr, max_lr = lrs.pop() if len(lrs) == 1 else (None, None)
    measured = (report.capacity_bytes for report in reports if report.capacity_bytes is not None)
    capacity_bytes = plan.setup.capacity_bytes or next(measured, None)
    return MemSweep(
        target=plan.setup.target,
        recorder=plan.setup.recorder,
        recorder_reason=plan.recorder_reason,
        capacity_bytes=capacity_bytes,
        card=plan.card,
        base_lr=base_lr,
        max_lr=max_lr,
        lr_source=plan.lr_source,
        trials=trials,
        verdict=conclude_sweep(trials, _all_steps(run_dir, trials), capacity_bytes=capacity_bytes),
        duration_s=duration_s,
    )


def _all_steps(run_dir: Path, trials: Sequence[Trial]) -> dict[int, StepSeries]:
    steps = {trial.number: read_series(run_dir, trial.number) for trial in trials}
    return {number: series for number, series in steps.items() if series is not None}


def _stored(plan: Plan, run_dir: Path) -> Iterator[TrialReport]:
    for trial in plan.trials:
        report = SWEEP_TRIAL.read(trial_dir(run_dir, trial.number))
        if report is not None:
            yield report


def _job(folder: Path, file: TrialFile) -> Job:
    """A trial to run; its folder is made when its turn comes."""
    return SWEEP_TRIAL.job(folder, file, recorder=file.setup.recorder, settings=file.trial.condition.settings)
