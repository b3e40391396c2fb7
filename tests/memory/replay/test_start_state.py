"""A recording begun in the middle of a process: what it holds by then counts against the capacity."""

from io import BytesIO
from typing import Any

import pytest

from lrtool.memory.attribution.budget import budget_at_peak
from lrtool.memory.replay.min_capacity import min_capacity
from lrtool.memory.replay.replay import Scenario, replay
from lrtool.memory.replay.timeline import per_op_rows, usage_of
from lrtool.memory.snapshot.contents import checked_snapshot
from lrtool.memory.snapshot.convert import snapshot_trace
from lrtool.memory.trace.allocation_trace import AllocationTrace, TraceError
from lrtool.memory.trace.jsonl import parse_jsonl
from tests.memory.odd_snapshots import BASE, MIB, block, event, segment

LIVE, FREE = "active_allocated", "inactive"


def warm(*, is_expandable: bool = False) -> AllocationTrace:
    """60 MiB live in a segment of 100, and 50 MiB that are only cached; then 10 more come and go."""
    other = BASE + 1024 * MIB
    data: dict[str, Any] = {
        "segments": [
            segment(
                BASE,
                block(60 * MIB, 60 * MIB, LIVE, BASE),
                block(40 * MIB, 0, FREE, BASE + 60 * MIB),
                is_expandable=is_expandable,
            ),
            segment(other, block(50 * MIB, 0, FREE, other)),
        ],
        "device_traces": [
            [
                event("alloc", BASE + 60 * MIB, 10 * MIB),
                event("free_requested", BASE + 60 * MIB, 10 * MIB),
                event("free_completed", BASE + 60 * MIB, 10 * MIB),
            ]
        ],
    }
    return snapshot_trace(checked_snapshot(data, name="warm"), name="warm")


def test_what_is_live_at_the_start_does_not_fit_into_less() -> None:
    oom = replay(warm(), Scenario(capacity_bytes=40 * MIB)).oom

    assert oom is not None
    assert (oom.at_start, oom.request, oom.cause, oom.size_bytes) == (True, 0, "capacity", 60 * MIB)


def test_what_is_only_cached_is_given_back_first() -> None:
    whole = replay(warm(), Scenario(capacity_bytes=150 * MIB))
    less = replay(warm(), Scenario(capacity_bytes=100 * MIB))

    assert (whole.survived, whole.peaks.reserved_bytes, whole.num_alloc_retries) == (True, 150 * MIB, 0)
    assert (less.survived, less.peaks.reserved_bytes, less.num_alloc_retries) == (True, 100 * MIB, 1)


def test_a_segment_in_use_cannot_be_given_back_in_part() -> None:
    oom = replay(warm(), Scenario(capacity_bytes=90 * MIB)).oom

    assert oom is not None
    assert (oom.at_start, oom.cause) == (True, "fragmentation")


def test_whole_pages_of_an_expandable_segment_are_given_back() -> None:
    result = replay(warm(is_expandable=True), Scenario(settings="expandable_segments:True", capacity_bytes=80 * MIB))

    assert result.survived
    assert result.peaks.reserved_bytes == 80 * MIB


@pytest.mark.parametrize("settings", ["", "expandable_segments:True", "per_process_memory_fraction:0.5"])
@pytest.mark.parametrize("no_caching", [False, True])
def test_nothing_survives_with_more_than_there_is(settings: str, no_caching: bool) -> None:
    for capacity in range(2, 202, 2):
        scenario = Scenario(settings=settings, capacity_bytes=capacity * MIB, no_caching=no_caching)
        result = replay(warm(), scenario)
        if result.survived:
            assert max(result.peaks.active_bytes, result.peaks.reserved_bytes) <= capacity * MIB


@pytest.mark.parametrize("is_expandable", [False, True])
def test_the_least_capacity_is_the_least_that_survives(is_expandable: bool) -> None:
    trace, settings = warm(is_expandable=is_expandable), "expandable_segments:True" if is_expandable else ""
    least = min_capacity(trace, Scenario(settings=settings))
    survivors = [
        mib for mib in range(2, 202, 2) if replay(trace, Scenario(settings=settings, capacity_bytes=mib * MIB)).survived
    ]

    assert least is not None
    assert least.capacity_bytes == survivors[0] * MIB
    assert survivors == list(range(survivors[0], 202, 2))


def test_a_limit_is_never_more_than_the_device_has() -> None:
    lines = b'{"op": "set_limit", "bytes": 209715200}\n{"op": "alloc", "id": 1, "size": 104857600}\n'
    trace = parse_jsonl(BytesIO(lines), name="limited")

    assert not replay(trace, Scenario(capacity_bytes=64 * MIB)).survived


def test_a_start_that_does_not_fit_has_a_picture_and_a_budget_and_no_rows() -> None:
    scenario = Scenario(capacity_bytes=40 * MIB)
    usage, budget = usage_of(warm(), scenario), budget_at_peak(warm(), scenario)

    assert (usage.failed_at, usage.peak.active_bytes) == (0, 60 * MIB)
    assert budget is not None
    assert {line.name: line.num_bytes for line in budget.lines}["not known"] == 60 * MIB
    with pytest.raises(TraceError, match="does not fit"):
        next(per_op_rows(warm(), scenario))


def test_the_start_may_be_the_peak() -> None:
    data: dict[str, Any] = {
        "segments": [segment(BASE, block(100 * MIB, 0, FREE, BASE))],
        "device_traces": [[event("free_requested", BASE, 100 * MIB), event("free_completed", BASE, 100 * MIB)]],
    }
    trace = snapshot_trace(checked_snapshot(data, name="ends"), name="ends")
    budget = budget_at_peak(trace, Scenario())

    assert budget is not None
    assert {line.name: line.num_bytes for line in budget.lines}["not known"] == 100 * MIB
