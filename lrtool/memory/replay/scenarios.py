"""The question `lrtool replay` answers: a trace under several settings and capacities, as one stored result."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise

from lrtool.memory.gpus import Card
from lrtool.memory.replay.min_capacity import min_capacity
from lrtool.memory.replay.replay import (
    CANNOT_COMPARE,
    ReplayResult,
    Scenario,
    best,
    is_otherwise,
    replay,
    surviving_settings,
)
from lrtool.memory.replay.segments import BlockState, SegmentView, segments_after
from lrtool.memory.replay.timeline import Usage, usage_of
from lrtool.memory.trace.allocation_trace import AllocationTrace, FailedRequest
from lrtool.memory.trace.from_empty import from_empty
from lrtool.results import (
    LeastCapacity,
    Oom,
    RecordedOom,
    Replay,
    ReplayBlock,
    ReplayOom,
    ReplayRow,
    ReplaySegment,
    Start,
    Timeline,
)

MAX_DETAILED = 6
"""Rows that get a timeline and their segments: what fits a page."""
FROM_EMPTY = (
    "rows from an empty device ask anew for what was live at the start, in the order of addresses; these can be compared "
    "with each other"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A capacity in bytes, and the card it is that of; None is a device as large as need be."""

    capacity_bytes: int | None = None
    card: Card | None = None


def replay_scenarios(
    trace: AllocationTrace, *, base: Scenario, settings: Sequence[str], places: Sequence[Place], least: bool = False
) -> Replay:
    """Replay `trace` under each of `settings` on each of `places`, otherwise as in `base`.

    `least` searches the smallest capacity too. Raises UsageError for settings that the torch of `base` does not have.
    """
    begin = time.perf_counter()
    asked = [
        (replace(base, settings=text, capacity_bytes=place.capacity_bytes), place)
        for text in settings
        for place in places
    ]
    is_what_if = trace.start is not None and any(is_otherwise(trace, scenario) for scenario, _ in asked)
    plays = [(trace, *each) for each in asked]
    if is_what_if:
        empty = from_empty(trace)
        plays += [(empty, *each) for each in asked]
    results = [replay(played, scenario) for played, scenario, _ in plays]
    preferred = results.index(best(results[len(asked) :] if is_what_if else results))
    rows = [
        _row(played, result, place, least=least, detailed=number < MAX_DETAILED or number == preferred)
        for number, (result, (played, _, place)) in enumerate(zip(results, plays, strict=True))
    ]
    return Replay(
        trace=trace.name,
        num_requests=len(trace),
        starts_from=_start_of(trace),
        warnings=(*trace.warnings, CANNOT_COMPARE, FROM_EMPTY) if is_what_if else trace.warnings,
        best=preferred,
        rows=tuple(rows),
        duration_s=time.perf_counter() - begin,
        recorded_oom=None if trace.recorded_oom is None else _recorded(trace.recorded_oom),
        has_history=trace.has_history,
    )


def _row(trace: AllocationTrace, result: ReplayResult, place: Place, *, least: bool, detailed: bool) -> ReplayRow:
    scenario, figures = result.scenario, result.fragmentation
    usage = usage_of(trace, scenario) if detailed else None
    oom = result.oom
    return ReplayRow(
        settings=scenario.settings,
        capacity_bytes=scenario.capacity_bytes,
        card=place.card.name if place.card else None,
        torch=str(scenario.version),
        caching=not scenario.no_caching,
        peak_allocated_bytes=result.peaks.allocated_bytes,
        peak_active_bytes=result.peaks.active_bytes,
        peak_reserved_bytes=result.peaks.reserved_bytes,
        peak_requested_bytes=result.peaks.requested_bytes,
        fragmentation=figures.fragmentation,
        split_fragmentation=figures.split_fragmentation,
        largest_free_ratio=figures.largest_free_ratio,
        rounding_loss=figures.rounding_loss,
        releasable_bytes=figures.releasable_bytes,
        num_alloc_retries=result.num_alloc_retries,
        num_device_allocs=result.num_device_allocs,
        num_device_frees=result.num_device_frees,
        num_played=result.num_played,
        outcome="ok" if oom is None else oom.status,
        death=None if oom is None else _stored(trace, scenario, oom),
        least_capacity=_least(trace, scenario) if least else None,
        timeline=None if usage is None else _timeline(usage, skipped=result.num_requests - result.num_played),
        segments=() if usage is None else _segments(trace, scenario, usage),
        starts_from=_start_of(trace),
    )


def _start_of(trace: AllocationTrace) -> Start:
    return "an empty pool" if trace.start is None else "a running process"


def _recorded(failed: FailedRequest) -> RecordedOom:
    known = asdict(failed)
    return RecordedOom(num_ooms=1 + len(known.pop("earlier")), **known)


def _stored(trace: AllocationTrace, scenario: Scenario, oom: Oom) -> ReplayOom:
    own = {field.name: getattr(oom, field.name) for field in fields(ReplayOom) if field.name != "surviving_settings"}
    return ReplayOom(**own, surviving_settings=surviving_settings(trace, scenario))


def _least(trace: AllocationTrace, scenario: Scenario) -> LeastCapacity | None:
    found = min_capacity(trace, scenario)
    return None if found is None else LeastCapacity(
        capacity_bytes=found.capacity_bytes,
        unpressured_peak_bytes=found.unpressured_peak_bytes,
        is_proven=found.is_proven,
        num_alloc_retries=found.num_alloc_retries,
    )  # fmt: skip


def _timeline(usage: Usage, *, skipped: int) -> Timeline:
    """`skipped` requests were proven to repeat: they lie in the widest gap between samples."""
    samples = usage.samples
    widest = max(pairwise(samples), key=lambda gap: gap[1].request - gap[0].request, default=None) if skipped else None
    return Timeline(
        request=tuple(sample.request for sample in samples),
        allocated_bytes=tuple(sample.allocated_bytes for sample in samples),
        active_bytes=tuple(sample.active_bytes for sample in samples),
        reserved_bytes=tuple(sample.reserved_bytes for sample in samples),
        peak_request=usage.peak.request,
        repeats_from=widest[0].request if widest and usage.failed_at is None else None,
        repeats_to=widest[1].request if widest and usage.failed_at is None else None,
    )


def _segments(trace: AllocationTrace, scenario: Scenario, usage: Usage) -> tuple[ReplaySegment, ...]:
    """The segments where a request failed, else where most was active."""
    request = usage.peak.request if usage.failed_at is None else usage.failed_at
    views = segments_after(trace, scenario, request=request)
    return tuple(
        ReplaySegment(size_bytes=view.size_bytes, is_small=view.is_small, blocks=_blocks(view)) for view in views
    )


def _blocks(view: SegmentView) -> tuple[ReplayBlock, ...]:
    states = {block.state for block in view.blocks}
    free = "split" if len(states - {BlockState.UNMAPPED}) > 1 else "free"
    names = {BlockState.INACTIVE: free, BlockState.UNMAPPED: "unmapped"}
    return tuple(
        ReplayBlock(
            offset_bytes=block.offset_bytes,
            size_bytes=block.size_bytes,
            state=names.get(block.state, "used"),  # type: ignore[arg-type]
        )
        for block in view.blocks
    )
