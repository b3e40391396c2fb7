"""One trial of cures, in a process of its own."""

import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from lrtool.diagnosis.cure_trials.plain_run import PlainRun, run_plainly
from lrtool.diagnosis.cure_trials.reports import (
    CURE_TRIAL,
    CureReport,
    CureSetup,
    CureTrial,
    CureTrialFile,
    Refused,
    SettingsPeaks,
    TrialEnding,
)
from lrtool.diagnosis.cures.allocator_settings import settings_to_try
from lrtool.diagnosis.cures.applied import CannotHelp, CureOptions, OnlyAdvice
from lrtool.diagnosis.cures.cure import Replayed, WorkloadCure
from lrtool.diagnosis.cures.registry import apply_cures, find_cures, find_options
from lrtool.errors import LrtoolError, cut
from lrtool.memory.allocator.versions import torch_version
from lrtool.memory.recorders.choose import record
from lrtool.memory.recorders.predicted import fake_gpu
from lrtool.memory.recorders.recording import Recording, RecordSettings
from lrtool.memory.replay.interval import fits_surely
from lrtool.memory.replay.replay import Scenario, replay
from lrtool.results import is_measured
from lrtool.tracing.tracer.alternatives import trace_with_alternatives
from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, recording
from lrtool.workload.adapters import as_workload
from lrtool.workload.devices import pick_device
from lrtool.workload.target import Factory, load
from lrtool.workload.workload import Workload

MAX_CPU_OPERATIONS = 10**11
"""Floating-point operations of all steps that a CPU does in a while, so that losses of a prediction are worth computing."""
MAX_CPU_PEAK_BYTES = 2 * 2**30
MAX_PLAIN_RUN_S = 20.0


def run_trial(folder: Path) -> None:
    """Run the trial of `folder/trial.json` and write what came of it beside it."""
    file = CURE_TRIAL.read_given(folder)
    try:
        report = _measured(file) if is_measured(file.setup.recorder) else _traced(file)
        CURE_TRIAL.write(folder, report)  # should the plain run end the process, this is kept
        report = _with_plain_run(report, file)
    except BaseException as error:
        report = _failure(file.trial, error)
    CURE_TRIAL.write(folder, report)


class CuredBuild:
    """A user's factory whose workloads get cures; `how` are the lines that do the same, once it has built."""

    def __init__(self, factory: Factory, cures: Sequence[WorkloadCure], options: CureOptions | None = None) -> None:
        self._factory, self._cures = factory, cures
        self._options = options or CureOptions()
        self.how: tuple[str, ...] = ()

    def factory(self) -> Factory:
        """The factory that builds the cured workload. It raises CannotHelp where a cure has nothing to do."""
        build = self._factory.function

        @wraps(build)
        def cured(*arguments: Any, **named: Any) -> Workload:
            workload = as_workload(build(*arguments, **named), name=self._factory.name)
            applied = apply_cures(workload, self._cures, self._options)
            self.how = applied.how
            return applied.workload

        return replace(self._factory, function=cured)


def build_of(file: CureTrialFile) -> CuredBuild:
    """The target's factory with the trial's cures. Raises UsageError, WorkloadError."""
    setup, trial = file.setup, file.trial
    options = CureOptions(modules=setup.modules, num_batches=setup.num_steps, batch_size=trial.batch_size)
    return CuredBuild(load(setup.target, params=setup.params), find_cures(trial.cures), options)


def traced_run(file: CureTrialFile, build: CuredBuild) -> TracedRun:
    """The trial's steps, traced. Raises what the user's code does, CannotHelp from a cure."""
    setup = file.setup
    return trace_with_alternatives(
        build.factory(),
        TraceSettings(
            num_steps=setup.num_steps,
            kind="cpu" if setup.recorder == "cpu" else "predicted",
            seed=setup.seed,
            gpu=fake_gpu(setup.gpu, count=setup.gpus),
        ),
    )


def peaks_under(traced: TracedRun, settings: str, capacity_bytes: int | None, *, name: str = "") -> SettingsPeaks:
    """A run's peaks where memory is unlimited, and whether it fits the capacity even if its assumptions are otherwise."""
    unlimited = Scenario(settings=settings, version=torch_version())
    free, limited = replay(traced.trace, unlimited), None
    fits: bool | None = None
    if capacity_bytes is not None:
        scenario = replace(unlimited, capacity_bytes=capacity_bytes)
        limited = replay(traced.trace, scenario)
        fits = limited.survived and fits_surely(traced.trace, scenario, traced.assumptions)
    return SettingsPeaks(
        name=name,
        settings=settings,
        peak_allocated_bytes=free.peaks.allocated_bytes,
        peak_reserved_bytes=free.peaks.reserved_bytes,
        reserved_at_capacity_bytes=None if limited is None else limited.peaks.reserved_bytes,
        fits=fits,
    )


def _traced(file: CureTrialFile) -> CureReport:
    setup, trial = file.setup, file.trial
    build = build_of(file)
    traced = traced_run(file, build)
    own = peaks_under(traced, trial.settings, setup.capacity_bytes)
    others, refused = _other_settings(traced, setup, trial) if trial.options else ((), ())
    unfit = tuple(_unfit_cures(file)) if trial.asks_for else ()
    return CureReport(
        trial=trial,
        ending="oom" if own.fits is False else "ok",
        how=build.how,
        peaks=(own, *others),
        refused=(*refused, *unfit),
        num_operations=_steady_operations(traced),
        capacity_bytes=setup.capacity_bytes,
    )


def _other_settings(
    traced: TracedRun, setup: CureSetup, trial: CureTrial
) -> tuple[tuple[SettingsPeaks, ...], tuple[Refused, ...]]:
    replayed = Replayed(trace=traced.trace, version=torch_version(), capacity_bytes=setup.capacity_bytes)
    options = settings_to_try(replayed, base=trial.settings, cures=find_options(trial.options))
    tried = tuple(
        peaks_under(traced, text, setup.capacity_bytes, name=each.cure.name)
        for each in options
        for text in each.settings
    )
    refused = tuple(Refused(name=each.cure.name, reason=each.reason) for each in options if each.reason is not None)
    return tried, refused


def _unfit_cures(file: CureTrialFile) -> Iterator[Refused]:
    """Which cures have nothing to do, found by applying each to a build on fake tensors; other failures are for its trial."""
    for name in file.trial.asks_for:
        build = build_of(replace(file, trial=replace(file.trial, cures=(name,))))
        try:
            with recording("predicted", gpu=fake_gpu(file.setup.gpu, count=file.setup.gpus)):
                build.factory().build(seed=file.setup.seed, device=torch.device("cuda", 0))
        except CannotHelp as unfit:
            yield Refused(name=name, reason=unfit.message, is_advice=isinstance(unfit, OnlyAdvice))
        except LrtoolError:
            continue


def _steady_operations(traced: TracedRun) -> int | None:
    """Of the last step: the first may do more. None where no operator with a formula ran."""
    return (traced.num_operations[-1] or None) if traced.num_operations else None


def _measured(file: CureTrialFile) -> CureReport:
    """The trial's steps on the GPU, under the settings that its process was started with."""
    setup, trial = file.setup, file.trial
    build = build_of(file)
    recorded = record(
        build.factory(),
        RecordSettings(
            recorder=setup.recorder,
            num_steps=setup.num_steps,
            seed=setup.seed,
            device=setup.device,
            gpu=setup.gpu,
            gpus=setup.gpus,
            capacity_bytes=setup.capacity_bytes,
        ),
    )
    if recorded.error is not None:
        raise recorded.error
    ending: TrialEnding = "ok" if recorded.death is None else "oom"
    return CureReport(
        trial=trial,
        ending=ending,
        how=build.how,
        peaks=tuple(_recorded_peaks(recorded, trial, fits=ending == "ok")),
        capacity_bytes=setup.capacity_bytes or recorded.capacity_bytes,
    )


def _recorded_peaks(recorded: Recording, trial: CureTrial, *, fits: bool) -> Iterator[SettingsPeaks]:
    if recorded.peaks is not None:
        yield SettingsPeaks(
            name="",
            settings=trial.settings,
            peak_allocated_bytes=recorded.peaks.allocated_bytes,
            peak_reserved_bytes=recorded.peaks.reserved_bytes,
            reserved_at_capacity_bytes=recorded.peaks.reserved_bytes,
            fits=fits,
        )


def _with_plain_run(report: CureReport, file: CureTrialFile) -> CureReport:
    """The report with losses and times of a run that nothing watches: on the GPU, or where that is cheap on the CPU.

    A prediction takes the losses alone: how long a step takes on the CPU says nothing about a GPU.
    """
    setup = file.setup
    device = pick_device(setup.device if is_measured(setup.recorder) else "cpu")
    if not file.trial.wants_loss or not _is_worth_running(report, file):
        return report
    try:
        plain = _run_plainly(file, device)
    except LrtoolError as error:
        sys.stderr.write("".join(traceback.format_exception(error)))
        return report
    if plain is None:
        return report
    return replace(
        report,
        loss=plain.loss,
        loss_device=device.type,
        step_duration_s=None if setup.recorder == "predicted" else plain.step_duration_s,
    )


def _run_plainly(file: CureTrialFile, device: torch.device) -> PlainRun | None:
    setup = file.setup
    return run_plainly(
        build_of(file).factory(),
        device=device,
        seed=setup.seed,
        num_steps=setup.num_steps,
        max_duration_s=MAX_PLAIN_RUN_S,
    )


def _is_worth_running(report: CureReport, file: CureTrialFile) -> bool:
    """What has run here can run again; for a prediction, the baseline decides for all cures, lest some had no loss."""
    if file.setup.recorder != "predicted":
        return report.ending == "ok"
    if file.trial.cures:
        return True
    num_operations = (report.num_operations or 0) * file.setup.num_steps
    return num_operations <= MAX_CPU_OPERATIONS and report.peaks[0].peak_allocated_bytes <= MAX_CPU_PEAK_BYTES


def _failure(trial: CureTrial, error: BaseException) -> CureReport:
    sys.stderr.write("".join(traceback.format_exception(error)))
    if isinstance(error, CannotHelp):
        ending: TrialEnding = "advice" if isinstance(error, OnlyAdvice) else "cannot help"
        return CureReport(trial=trial, ending=ending, message=error.message)
    message = error.message if isinstance(error, LrtoolError) else f"{type(error).__name__}: {error}"
    return CureReport(trial=trial, ending="failed", message=cut(message.partition("\n")[0]))
