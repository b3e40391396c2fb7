"""The figures of a diagnosis from what is stored, without torch: a trial of a sweep, or a stream such as a snapshot's."""

from collections import Counter
from dataclasses import replace

from lrtool.memory.budget import budget_at_peak
from lrtool.memory.growth import step_growth
from lrtool.memory.replay import Failure, Scenario, replay
from lrtool.memory.replay_picture import SegmentView, segments_after
from lrtool.memory.run_figures import DeathFigures, RunFigures
from lrtool.memory.step_columns import COLUMNS, StepColumns
from lrtool.memory.stream import AllocationStream, Op
from lrtool.memory.stream_player import StepEnd
from lrtool.memory.stream_steps import step_of
from lrtool.results import StepSeries, Trial

FEW_SIZES = 0.2
MANY_REQUESTS = 20


def figures_of_trial(trial: Trial, series: StepSeries, *, target: str, capacity_bytes: int | None) -> RunFigures:
    """A run that was measured, or predicted earlier: its steps are known, its phases are not."""
    death = trial.death
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
        death=None if death is None else DeathFigures(
            step=death.step, size_bytes=death.request_bytes, cause=death.cause, source=death.source
        ),
        sources=trial.growth_sources,
        other_processes_bytes=trial.other_processes_bytes,
        settings=trial.condition.settings,
        request_sizes_vary=peaks_vary(series),
    )  # fmt: skip


def figures_of_stream(
    stream: AllocationStream, scenario: Scenario, *, target: str, death: DeathFigures | None = None
) -> RunFigures:
    """A recorded stream, replayed with and without the capacity; `death` is the out-of-memory that the recording holds."""
    free = replay(stream, replace(scenario, capacity_bytes=None))
    limited = free if death is not None or scenario.capacity_bytes is None else replay(stream, scenario)
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
        death=death or (None if limited.failure is None else death_of(limited.failure, stream)),
        budget=budget_at_peak(stream, scenario),
        side_reserved_bytes=sum(each.size_bytes for each in side),
        side_free_bytes=_free_bytes(side),
        settings=scenario.settings,
        request_sizes_vary=_sizes_vary(stream),
        notes=stream.warnings,
    )


def death_of(failure: Failure, stream: AllocationStream) -> DeathFigures:
    """The failing request of a replay, with what the stream notes of it."""
    note = failure.note
    return DeathFigures(
        step=step_of(stream, failure.request),
        size_bytes=failure.size_bytes,
        cause=failure.cause,
        largest_free_bytes=failure.largest_free_bytes,
        free_bytes=failure.free_bytes,
        phase=note.phase,
        category=note.category,
        operator=note.operator,
        source=note.source,
    )


def series_of(steps: tuple[StepEnd, ...]) -> StepSeries:
    """The steps of a replay as columns."""
    columns = StepColumns()
    for step in steps:
        columns.append(**{name: getattr(step, name) for name in COLUMNS})
    return columns.series()


def _free_bytes(segments: list[SegmentView]) -> int:
    return sum(each.free_bytes for each in segments)


def peaks_vary(series: StepSeries) -> bool | None:
    """Whether steps after the warm-up peak differently over what was there before them, so that batches seem to differ."""
    rises = [peak - end for peak, end in zip(series.peak_allocated_bytes[3:], series.allocated_bytes[2:], strict=False)]
    return len(set(rises)) > 1 if rises else None


def _sizes_vary(stream: AllocationStream) -> bool:
    """Whether a good part of the large requests have sizes that come only once or twice."""
    sizes = Counter(
        size for op, size in zip(stream.ops, stream.values, strict=True) if op == Op.ALLOC and size >= 2**20
    )  # fmt: skip
    rare = sum(count for count in sizes.values() if count <= 2)
    return sum(sizes.values()) >= MANY_REQUESTS and rare > FEW_SIZES * sum(sizes.values())
