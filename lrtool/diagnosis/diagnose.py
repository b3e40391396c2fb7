"""A diagnosis, from figures to result: of a workload run in a process of its own, of a snapshot, or of a stored run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lrtool.diagnosis.reports import DIAGNOSIS, DiagnosisSetup
from lrtool.diagnosis.rules import diagnose
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.errors import LrtoolError, UnavailableError, UsageError, WorkloadError
from lrtool.memory.metrics import fragmentation_ratio
from lrtool.memory.replay.replay import Scenario
from lrtool.results import Budget, Diagnosis, Finding, MemSweep, Trial
from lrtool.results.stored.trial_dir import read_series
from lrtool.sweep.executors.executor import Executor, run_one
from lrtool.units import format_bytes, format_estimate

Origin = Literal["workload", "snapshot", "run"]


def run_diagnosis(
    setup: DiagnosisSetup, folder: Path, executor: Executor, *, reason: str, card: str | None
) -> tuple[Diagnosis, bool]:
    """Run a DiagnosisSetup in a process of its own, its files in `folder`; and whether Ctrl-C came once it had figures.

    Raises what the user's code does, as it does.
    """
    job = DIAGNOSIS.job(folder, setup, recorder=setup.recorder, settings=setup.settings)
    was_interrupted = False
    try:
        report = DIAGNOSIS.collect(run_one(executor, job), setup)
    except KeyboardInterrupt:
        stored = DIAGNOSIS.read(folder)
        if stored is None:
            raise
        report, was_interrupted = stored, True
    if report.figures is None:
        raise _as_error(report.message or "", report.hint or "", report.trace, report.exit_code)
    found = conclude(report.figures, origin="workload")
    found = replace(found, recorder_reason=reason, card=card, num_steps=setup.num_steps, ranks=report.ranks)
    return found, was_interrupted


def diagnose_file(
    path: Path, scenario: Scenario, *, total_bytes: int | None, environment: Mapping[str, str]
) -> Diagnosis:
    """A recorded snapshot, or a trace in JSON lines. Raises TraceError."""
    from lrtool.diagnosis.sources import figures_of_file

    figures = figures_of_file(path, scenario, total_bytes=total_bytes, environment=environment)
    return conclude(figures, origin="snapshot")


def diagnose_run(run_dir: Path, sweep: MemSweep) -> Diagnosis:
    """A finished memory sweep: of its trials the one that tells most. Raises UsageError where none has steps."""
    from lrtool.diagnosis.sources import figures_of_trial

    found = []
    for trial in sorted(sweep.trials, key=_tells_most):
        series = read_series(run_dir, trial.number)
        if series is not None and series.allocated_bytes:
            figures = figures_of_trial(trial, series, target=sweep.target, capacity_bytes=sweep.capacity_bytes)
            found.append((trial, conclude(figures, origin="run")))
    if not found:
        raise UsageError(
            f"no trial of {run_dir} finished a step", hint="there is nothing to read; see its log.txt files"
        )
    trial, result = next((each for each in found if each[1].findings[0].cause != "none"), found[0])
    note = f"run {trial.number} of {len(sweep.trials)} of {run_dir} (step size {trial.condition.step_size_up})"
    return replace(
        result, recorder_reason=sweep.recorder_reason, card=sweep.card, num_steps=trial.num_steps,
        notes=(note, *result.notes),
    )  # fmt: skip


def conclude(figures: RunFigures, *, origin: Origin) -> Diagnosis:
    """What figures say: the findings, and the first of them as a sentence."""
    findings = diagnose(figures)
    oom = figures.oom
    return Diagnosis(
        target=figures.target,
        origin=origin,
        recorder=figures.recorder,
        recorder_reason="",
        capacity_bytes=figures.capacity_bytes,
        card=None,
        settings=figures.settings,
        num_steps=len(figures.series.allocated_bytes) or None,
        num_steps_fit=None if oom is None or not oom.step else oom.step - 1,
        peak_allocated_bytes=figures.peak_allocated_bytes,
        peak_reserved_bytes=figures.peak_reserved_bytes,
        fragmentation=fragmentation_ratio(figures.peak_active_bytes, figures.peak_reserved_bytes),
        verdict=sentence(findings[0], figures),
        findings=findings,
        budget=_with_others(figures.budget, figures),
        notes=figures.notes,
        peak_interval=figures.peak_interval,
        assumptions=figures.assumptions,
        on_card=figures.on_card,
        devices=figures.devices,
        peak_lines=figures.peak_lines,
    )


def sentence(finding: Finding, figures: RunFigures) -> str:
    """The answer: what is wrong, where it leads, and from where it comes."""
    title = f"{finding.title[:1].upper()}{finding.title[1:]}"
    source = f", {finding.source}" if finding.source else ""
    oom = figures.oom
    if oom is None:
        if finding.cause == "none" and figures.capacity_bytes is not None:
            ends = None if figures.peak_interval is None else figures.peak_interval.reserved_ends
            used = format_estimate(figures.peak_reserved_bytes, ends)
            return f"{title}: {used} of {format_bytes(figures.capacity_bytes)} are used."
        return f"{title}{source}."
    room = f" {format_bytes(figures.capacity_bytes)}" if figures.capacity_bytes is not None else " memory"
    when = f" at step {oom.step:,}" if oom.step else ""
    return f"{title}{source}; out of{room}{when}."


def _tells_most(trial: Trial) -> tuple[bool, int]:
    """Those that ran out of memory first, then the longest."""
    return trial.status != "oom", -trial.num_steps_done


def _with_others(budget: Budget | None, figures: RunFigures) -> Budget | None:
    if budget is None or figures.other_processes_bytes is None:
        return budget
    used = budget.reserved_bytes + budget.context_bytes + figures.other_processes_bytes
    return replace(budget, other_processes_bytes=figures.other_processes_bytes, device_used_bytes=used)


def _as_error(message: str, hint: str, trace: str | None, exit_code: int) -> LrtoolError:
    kinds = {kind.exit_code: kind for kind in (UsageError, WorkloadError, UnavailableError)}
    return kinds.get(exit_code, WorkloadError)(message, hint=hint, trace=trace)
