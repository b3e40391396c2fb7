"""Run figures from a recording, a trace, a stored trial or a snapshot."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lrtool.diagnosis.run_figures import RunFigures
from lrtool.memory.allocator.environment import allocator_variables, conf_asked_for, not_in_force
from lrtool.memory.attribution.budget import Moment, budget_at, budget_at_peak
from lrtool.memory.attribution.step_profile import leftovers, profile_steps
from lrtool.memory.gpus import CONTEXT_BYTES
from lrtool.memory.growth import step_growth
from lrtool.memory.recorders.predicted import source_of
from lrtool.memory.recorders.recording import Recording, series_of
from lrtool.memory.replay.replay import ReplayResult, Scenario, replay
from lrtool.memory.replay.segments import SegmentView, segments_after
from lrtool.memory.snapshot.contents import Snapshot
from lrtool.memory.snapshot.reader import read_trace_and_snapshot
from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from lrtool.memory.tracer.tracer import Trace
from lrtool.results import Budget, Oom, Recorder, StepSeries, Trial

FEW_SIZES = 0.2
MANY_REQUESTS = 20


def figures_of_trial(trial: Trial, series: StepSeries, *, target: str, capacity_bytes: int | None) -> RunFigures:
    """A run that was measured, or predicted earlier: its steps are known, its phases are not."""
    oom = trial.death
    return RunFigures(
        target=target,
        capacity_bytes=capacity_bytes,
        recorder=trial.recorder,
        is_traced=False,
        series=series,
        growth=trial.growth or step_growth(series.allocated_bytes),
        peak_allocated_bytes=trial.max_memory_allocated_bytes or 0,
        peak_active_bytes=trial.max_memory_active_bytes or 0,
        peak_reserved_bytes=trial.max_memory_reserved_bytes or 0,
        oom=None if oom is None else oom.oom,
        sources=trial.growth_sources,
        other_processes_bytes=trial.other_processes_bytes,
        settings=trial.condition.settings,
        request_sizes_vary=peaks_vary(series),
    )  # fmt: skip


def figures_of_trace(stream: AllocationTrace, scenario: Scenario, *, target: str, oom: Oom | None = None) -> RunFigures:
    """A recorded stream, replayed with and without the capacity; `oom` is the one that the recording holds."""
    free = replay(stream, replace(scenario, capacity_bytes=None))
    limited = free if oom is not None or scenario.capacity_bytes is None else replay(stream, scenario)
    side = [each for each in segments_after(stream, scenario, request=len(stream)) if each.stream != 0]
    series = series_of(free.steps)
    return RunFigures(
        target=target,
        capacity_bytes=scenario.capacity_bytes,
        recorder=None,
        is_traced=False,
        series=series,
        growth=step_growth(series.allocated_bytes),
        peak_allocated_bytes=free.peaks.allocated_bytes,
        peak_active_bytes=free.peaks.active_bytes,
        peak_reserved_bytes=free.peaks.reserved_bytes,
        oom=oom or limited.oom,
        budget=budget_at_peak(stream, scenario),
        side_reserved_bytes=sum(each.size_bytes for each in side),
        side_free_bytes=_free_bytes(side),
        settings=scenario.settings,
        request_sizes_vary=_sizes_vary(stream),
        notes=stream.warnings,
    )


def _free_bytes(segments: list[SegmentView]) -> int:
    return sum(each.free_bytes for each in segments)


def peaks_vary(series: StepSeries) -> bool | None:
    """Whether steps after the warm-up peak differently over what was there before them, so that batches seem to differ."""
    rises = [peak - end for peak, end in zip(series.peak_allocated_bytes[3:], series.allocated_bytes[2:], strict=False)]
    return len(set(rises)) > 1 if rises else None


def _sizes_vary(stream: AllocationTrace) -> bool:
    """Whether a good part of the large requests have sizes that come only once or twice."""
    sizes = Counter(
        size for op, size in zip(stream.ops, stream.values, strict=True) if op == Op.ALLOC and size >= 2**20
    )  # fmt: skip
    rare = sum(count for count in sizes.values() if count <= 2)
    return sum(sizes.values()) >= MANY_REQUESTS and rare > FEW_SIZES * sum(sizes.values())


def figures_of_recording(recording: Recording, *, target: str, settings: str, problems: tuple[str, ...]) -> RunFigures:
    """What a recording says. Raises what ended it, if that was not a want of memory."""
    if recording.error is not None:
        raise recording.error
    peaks, oom, series = recording.peaks, recording.death, recording.series
    return RunFigures(
        target=target,
        capacity_bytes=recording.capacity_bytes,
        recorder="cuda",
        is_traced=False,
        series=series,
        growth=step_growth(series.allocated_bytes),
        peak_allocated_bytes=peaks.allocated_bytes if peaks else 0,
        peak_active_bytes=peaks.active_bytes if peaks else 0,
        peak_reserved_bytes=peaks.reserved_bytes if peaks else 0,
        oom=None if oom is None else oom.oom,
        sources=recording.growth_sources,
        other_processes_bytes=recording.other_processes_bytes,
        settings=settings,
        settings_problems=problems,
        request_sizes_vary=peaks_vary(series),
        notes=() if recording.note is None else (recording.note,),
    )  # fmt: skip


def figures_of_traced_run(
    traced: Trace, scenario: Scenario, *, target: str, settings_problems: tuple[str, ...] = ()
) -> RunFigures:
    """What a trace says, replayed under `scenario`, whose capacity may end it; peaks and steps are those without a limit."""
    stream = traced.stream
    unlimited = Scenario(settings=scenario.settings, version=scenario.version)
    free = replay(stream, unlimited)
    limited = free if scenario.capacity_bytes is None else replay(stream, scenario)
    side = [each for each in segments_after(stream, unlimited, request=free.num_played) if each.stream != 0]
    series = series_of(free.steps)
    recorder: Recorder = "cpu" if traced.kind == "cpu" else "predicted"
    return RunFigures(
        target=target,
        capacity_bytes=scenario.capacity_bytes,
        recorder=recorder,
        is_traced=True,
        series=series,
        growth=step_growth(series.allocated_bytes),
        peak_allocated_bytes=free.peaks.allocated_bytes,
        peak_active_bytes=free.peaks.active_bytes,
        peak_reserved_bytes=free.peaks.reserved_bytes,
        oom=limited.oom,
        budget=_budget(stream, scenario, unlimited, limited),
        profiles=profile_steps(stream),
        leftovers=leftovers(stream),
        sources=tuple(map(source_of, traced.survivors)),
        garbage_bytes=traced.garbage_bytes,
        side_reserved_bytes=sum(each.size_bytes for each in side),
        side_free_bytes=sum(each.free_bytes for each in side),
        settings=scenario.settings,
        settings_problems=settings_problems,
        notes=traced.warnings,
    )


def _budget(stream: AllocationTrace, scenario: Scenario, unlimited: Scenario, limited: ReplayResult) -> Budget | None:
    """Where the run dies, what is live just before the failing request; else the peak."""
    oom = limited.oom
    if oom is None or not oom.request:
        return budget_at_peak(stream, unlimited)
    moment = Moment(request=oom.request, step=oom.step)
    return budget_at(stream, scenario, moment)


def figures_of_file(
    path: Path, scenario: Scenario, *, total_bytes: int | None, environment: Mapping[str, str]
) -> RunFigures:
    """What a snapshot, or a stream in JSON lines, says. `total_bytes` is the device's memory, where it is known.

    Raises TraceError for a file that is neither.
    """
    stream, snapshot = read_trace_and_snapshot(path)
    own = scenario if scenario.settings else replace(scenario, settings=stream.recorded_settings or "")
    if snapshot is None:
        return figures_of_trace(stream, own, target=str(path))
    figures = figures_of_trace(stream, own, target=str(path), oom=_last_oom(snapshot))
    figures = replace(figures, settings_problems=_not_in_force(snapshot, own, environment))
    return _with_limits(figures, snapshot, total_bytes=total_bytes)


def _last_oom(snapshot: Snapshot) -> Oom | None:
    """The last out-of-memory of the recording, with what the final segments hold: torch releases its cache before it dies."""
    failed = [event for event in snapshot.events if event.action == "oom"]
    if not failed:
        return None
    device_free = failed[-1].address
    free = [block.size for segment in snapshot.segments for block in segment.blocks if not block.is_active]
    largest, total = max([device_free, *free]), device_free + sum(free)
    size = failed[-1].size
    return Oom(
        step=0,
        size_bytes=size,
        cause="fragmentation" if largest < size <= total else "capacity",
        largest_free_bytes=largest,
        free_bytes=total,
        source=failed[-1].source,
    )


def _not_in_force(snapshot: Snapshot, scenario: Scenario, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Options that the environment, or the recorded process's own configuration, asks for and the snapshot does not show."""
    recorded = snapshot.settings_shown
    if recorded is None:
        return ()
    asked = dict.fromkeys(filter(None, (scenario.settings, conf_asked_for(allocator_variables(environment)))))
    return tuple(problem for text in asked for problem in not_in_force(text, recorded, scenario.version))


def _with_limits(figures: RunFigures, snapshot: Snapshot, *, total_bytes: int | None) -> RunFigures:
    """Where it ran out: what there was for this process, and what others held of the device."""
    failed = [event for event in snapshot.events if event.action == "oom"]
    if not failed:
        return figures
    room = failed[-1].address + sum(segment.size for segment in snapshot.segments)
    others = None if total_bytes is None else max(0, total_bytes - room - CONTEXT_BYTES)
    return replace(figures, capacity_bytes=figures.capacity_bytes or room, other_processes_bytes=others)
