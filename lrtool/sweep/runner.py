"""Runs a plan's trials, stores each as it ends, and brings them together; what is stored already is not run again."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from lrtool.errors import UsageError
from lrtool.results import MemSweep, StepSeries, Trial
from lrtool.results.run_dir import make_folder, write_file
from lrtool.results.trial_dir import (
    PLAN_FILE,
    RESULT_FILE,
    TABLE_FILE,
    TRIAL_FILE,
    last_words,
    read_json,
    read_series,
    trial_dir,
    trials_csv,
    write_json,
)
from lrtool.sweep.executors.executor import Ended, Executor, Job, job_of
from lrtool.sweep.plan import Plan, PlannedTrial, Setup
from lrtool.sweep.reports import TrialFile, TrialReport, read_report, report_of_ending, write_report
from lrtool.sweep.verdict import conclude_sweep

OnTrial = Callable[[Trial, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The trials that are done, by number; `was_interrupted` says that Ctrl-C came before the last one."""

    reports: tuple[TrialReport, ...]
    was_interrupted: bool


def begin_run(run_dir: Path, plan: Plan) -> None:
    """Store what is going to run, so that it can be resumed. Raises UnavailableError."""
    write_json(run_dir / PLAN_FILE, asdict(plan))


def resume_run(run_dir: Path) -> Plan:
    """The plan of a run directory. Raises UsageError where it is not one of mem-sweep."""
    if not (run_dir / PLAN_FILE).is_file():
        raise UsageError(f"{run_dir} holds no {PLAN_FILE}", hint="only runs of mem-sweep can be resumed")
    return read_json(run_dir / PLAN_FILE, Plan)


def run_trials(plan: Plan, run_dir: Path, executor: Executor, *, on_trial: OnTrial) -> Finished:
    """Run the trials that have no result yet, each stored as it ends; Ctrl-C ends those that run, and they count as not run.

    `on_trial` is told of each new trial, how many are done and how many there are.
    """
    reports = {report.trial.number: report for report in _stored(plan, run_dir)}
    by_folder = {trial_dir(run_dir, trial.number): trial for trial in plan.trials}
    was_interrupted = False
    try:
        with closing(executor.run(_jobs(plan, run_dir, done=set(reports)))) as endings:
            for ended in endings:
                report = _collect(plan, by_folder[ended.folder], ended)
                reports[report.trial.number] = report
                write_file(run_dir / TABLE_FILE, trials_csv(reports[number].trial for number in sorted(reports)))
                on_trial(report.trial, len(reports), len(plan.trials))
    except KeyboardInterrupt:
        was_interrupted = len(reports) < len(plan.trials)
        _forget_unfinished(plan, run_dir)
    return Finished(reports=tuple(reports[number] for number in sorted(reports)), was_interrupted=was_interrupted)


def conclude(plan: Plan, reports: Sequence[TrialReport], run_dir: Path, *, duration_s: float) -> MemSweep:
    """The sweep's result, from its trials and their steps."""
    trials = tuple(report.trial for report in reports)
    with_lrs = next((report for report in reports if report.max_lr is not None), None)
    measured = (report.capacity_bytes for report in reports if report.capacity_bytes is not None)
    capacity_bytes = plan.setup.capacity_bytes or next(measured, None)
    return MemSweep(
        target=plan.setup.target,
        recorder=plan.setup.recorder,
        recorder_reason=plan.recorder_reason,
        capacity_bytes=capacity_bytes,
        card=plan.card,
        base_lr=with_lrs.base_lr if with_lrs else plan.setup.base_lr,
        max_lr=with_lrs.max_lr if with_lrs else plan.setup.max_lr,
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
        file = trial_dir(run_dir, trial.number) / RESULT_FILE
        if file.is_file():
            yield read_report(file)


def _jobs(plan: Plan, run_dir: Path, *, done: set[int]) -> Iterator[Job]:
    """The trials to run, in their order; a trial's folder is made when its turn comes."""
    for trial in sorted(plan.trials, key=lambda trial: trial.position):
        if trial.number in done:
            continue
        folder = trial_dir(run_dir, trial.number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / TRIAL_FILE, asdict(TrialFile(setup=plan.setup, trial=trial)))
        yield job_of(folder, recorder=plan.setup.recorder, settings=trial.condition.settings)


def _collect(plan: Plan, trial: PlannedTrial, ended: Ended) -> TrialReport:
    """What the trial's process wrote, or what its end says where it could not write any more."""
    file = ended.folder / RESULT_FILE
    if file.is_file():
        return read_report(file)
    report = report_of_ending(plan.setup, trial, ended, last_words=last_words(ended.folder))
    make_folder(ended.folder)  # where the user's code removed it
    write_report(file, report)
    return report


def _forget_unfinished(plan: Plan, run_dir: Path) -> None:
    for trial in plan.trials:
        folder = trial_dir(run_dir, trial.number)
        if not (folder / RESULT_FILE).is_file():
            shutil.rmtree(folder, ignore_errors=True)


def slots_of(setup: Setup, *, jobs: int) -> list[Mapping[str, str]]:
    """How many trials may run at once, and on what: as many as asked for, but on CUDA one on each GPU."""
    if setup.recorder != "cuda":
        return [{}] * jobs
    if setup.device != "auto":
        return [{}]
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = visible if visible != [""] else [str(index) for index in range(torch.cuda.device_count())]
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[:jobs]]
