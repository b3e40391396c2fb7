"""One trial, in a process of its own."""

import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from lrtool.errors import LrtoolError, cut
from lrtool.memory.growth import step_growth
from lrtool.memory.metrics import trial_metrics
from lrtool.memory.recorders.choose import record
from lrtool.memory.recorders.recording import Recording, RecordSettings
from lrtool.results import StepSeries, Trial, TrialStatus
from lrtool.results.stored.secrets import masked
from lrtool.results.stored.trial_dir import write_lrs, write_series
from lrtool.sweep.executors.ranks import among_ranks, rank_device
from lrtool.sweep.reports import SWEEP_TRIAL, TrialFile, TrialReport
from lrtool.sweep.schedule import ScheduledBuild
from lrtool.workload.target import load
from lrtool.workload.user_code import is_out_of_memory


def run_trial(folder: Path) -> None:
    """Run the trial of `folder/trial.json` and write what came of it beside it."""
    file = SWEEP_TRIAL.read_given(folder)
    begin = time.perf_counter()
    build: ScheduledBuild | None = None
    try:
        build = _build(file)
        with among_ranks(file.setup.recorder, world_size=file.trial.condition.world_size):
            recording = record(build.factory(), _record_settings(file, folder))
    except BaseException as error:
        recording = Recording(series=NO_STEPS, peaks=None, error=error)
    _tell(recording.error)
    write_series(folder.parents[1], file.trial.number, recording.series)
    trial = conclude(file, recording, num_steps_done=build.num_steps_done if build else 0, begin=begin)
    if build is not None:
        lrs = build.lrs(trial.num_steps_done, is_trained=file.setup.recorder != "predicted")
        write_lrs(folder.parents[1], file.trial.number, lrs)
        trial = replace(trial, message=trial.message or build.scheduler_end)
    told = recording.error if isinstance(recording.error, LrtoolError) else None
    report = TrialReport(
        trial=trial,
        base_lr=build.base_lr if build else None,
        max_lr=build.max_lr if build else None,
        capacity_bytes=recording.capacity_bytes,
        trace=told.trace if told else None,
        hint=told.hint if told else None,
        exit_code=told.exit_code if told else None,
    )
    SWEEP_TRIAL.write(folder, report)


NO_STEPS = StepSeries(
    allocated_bytes=(), active_bytes=(), reserved_bytes=(), inactive_split_bytes=(), requested_bytes=(),
    peak_allocated_bytes=(), num_alloc_retries=(), num_device_allocs=(),
)  # fmt: skip


def conclude(file: TrialFile, recording: Recording, *, num_steps_done: int, begin: float) -> Trial:
    """The trial's figures, from its recording."""
    series, planned = recording.series, file.trial
    return Trial(
        number=planned.number,
        condition=replace(planned.condition, params=masked(planned.condition.params)),
        repeat=planned.repeat,
        position=planned.position,
        seed=planned.seed,
        num_steps=planned.num_steps,
        num_steps_done=len(series.allocated_bytes) or (num_steps_done if recording.death is None else 0),
        num_steps_traced=recording.num_steps_traced,
        status=status_of(recording),
        message=_message(recording),
        recorder=file.setup.recorder,
        **trial_metrics(series, recording.peaks, recording.at_peak),
        growth=step_growth(series.allocated_bytes),
        growth_sources=recording.growth_sources,
        peak_shares=recording.peak_breakdown,
        death=recording.death,
        other_processes_bytes=recording.other_processes_bytes,
        duration_s=time.perf_counter() - begin,
        most_by_category=dict(recording.most_by_category),
        peak_interval=recording.peak_interval,
        assumptions=recording.assumptions,
        on_card=recording.on_card,
        devices=recording.devices,
    )


def status_of(recording: Recording) -> TrialStatus:
    if recording.death is not None:
        return "oom"
    if recording.error is None:
        return "ok"
    if isinstance(recording.error, KeyboardInterrupt):
        return "interrupted"
    return "oom" if is_out_of_memory(recording.error.__cause__ or recording.error) else "failed"


def _build(file: TrialFile) -> ScheduledBuild:
    setup, trial = file.setup, file.trial
    return ScheduledBuild(
        load(setup.target, params=trial.condition.params),
        trial.condition,
        num_steps=trial.num_steps,
        base_lr=setup.base_lr if trial.condition.base_lr is None else trial.condition.base_lr,
        max_lr=setup.max_lr if trial.condition.max_lr is None else trial.condition.max_lr,
        device=rank_device(setup.recorder),
    )


def _record_settings(file: TrialFile, folder: Path) -> RecordSettings:
    setup, trial = file.setup, file.trial
    return RecordSettings(
        recorder=setup.recorder,
        num_steps=trial.num_steps,
        seed=trial.seed,
        device=setup.device,
        gpu=setup.gpu,
        gpus=setup.gpus,
        capacity_bytes=setup.capacity_bytes,
        settings=trial.condition.settings,
        history=setup.history,
        folder=folder,
    )


def _message(recording: Recording) -> str | None:
    error = recording.error
    if error is None:
        return recording.note
    if isinstance(error, LrtoolError):
        return error.message
    return cut(f"{type(error).__name__}: {error}".partition("\n")[0])


def _tell(error: BaseException | None) -> None:
    """The whole traceback into the trial's log; the user's frames alone go into its result."""
    if error is not None:
        sys.stderr.write("".join(traceback.format_exception(error)))
