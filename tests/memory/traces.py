"""Traces written by hand and by chance."""

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.replay.replay import Scenario
from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from lrtool.memory.trace.builder import TraceBuilder

MIB = 2**20
Call = tuple[Any, ...]

SETTINGS = (
    "",
    "expandable_segments:True",
    "max_split_size_mb:64",
    "max_split_size_mb:21,expandable_segments:True",
    "garbage_collection_threshold:0.5,per_process_memory_fraction:0.9",
    "roundup_power2_divisions:[1:4,>:2]",
    "large_segment_size_mb:40",
)


def write(calls: Iterable[Call], builder: TraceBuilder) -> None:
    """("alloc", id, bytes, stream), ("free", id), ("record", id, stream), ("advance",), or (Op,)."""
    for call in calls:
        if call[0] == "alloc":
            builder.alloc(call[1], call[2], stream=call[3] if len(call) > 3 else 0)
        elif call[0] == "free":
            builder.free(call[1])
        elif call[0] == "record":
            builder.record_stream(call[1], call[2])
        elif call[0] == "advance":
            builder.advance()
        else:
            builder.call(call[0])


def trace_of(*calls: Call) -> AllocationTrace:
    builder = TraceBuilder("by hand")
    write(calls, builder)
    return builder.build()


def repeated(times: int, before: Iterable[Call], body: Iterable[Call], *, marked: bool) -> AllocationTrace:
    """`before`, then `body` as often as said: as a repeat, or written out with a step mark before each."""
    builder = TraceBuilder("repeated")
    write(before, builder)
    body = list(body)
    if marked:
        for _ in range(times):
            builder.call(Op.STEP)
            write(body, builder)
    else:
        builder.begin_repeat(times)
        write(body, builder)
        builder.end_repeat()
    return builder.build()


sizes = st.one_of(
    st.integers(1, 4096), st.integers(4097, 2 * MIB), st.integers(1, 25 * MIB), st.integers(20 * MIB, 150 * MIB)
)
streams_of_device = st.sampled_from([0, 0, 0, 1, 2])


@st.composite
def calls(draw: st.DrawFn, *, live: frozenset[int] = frozenset(), max_size: int = 60) -> list[Call]:
    """Requests that are possible where the tensors `live` are allocated."""
    made: list[Call] = []
    held, fresh = set(live), 1000
    for kind in draw(st.lists(st.sampled_from("aaaaaafffffrexpc"), min_size=1, max_size=max_size)):
        if kind == "a":
            made.append(("alloc", fresh, draw(sizes), draw(streams_of_device)))
            held.add(fresh)
            fresh += 1
        elif kind in "fr" and held:
            key = draw(st.sampled_from(sorted(held)))
            made.append(("free", key) if kind == "f" else ("record", key, draw(st.integers(0, 2))))
            held -= {key} if kind == "f" else set()
        elif kind == "e":
            made.append((Op.EMPTY_CACHE,))
        elif kind == "x":
            made.append(("advance",))
        elif kind == "p":
            made.append((Op.RESET_PEAK,))
        elif kind == "c":
            made.append((Op.RESET_ACCUMULATED,))
    return made


@st.composite
def steps(draw: st.DrawFn, *, live: frozenset[int]) -> list[Call]:
    """Requests that leave allocated what they find allocated, so that they can be repeated."""
    body = draw(calls(live=live, max_size=30))
    held = set(live)
    for call in body:
        held = held | {call[1]} if call[0] == "alloc" else held - {call[1]} if call[0] == "free" else held
    lost = [("alloc", key, draw(sizes)) for key in sorted(live - held)]
    return [*body, *[("free", key) for key in sorted(held - live)], *lost]


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Settings, releases and capacities under which these traces partly run out of memory."""
    settings = draw(st.sampled_from(SETTINGS))
    minors = [11, 12, 13, 15] if settings else [0, 3, 9, 12, 15]
    capacity = draw(st.sampled_from([None, 200 * MIB, 500 * MIB, 2000 * MIB]))
    return Scenario(settings=settings, capacity_bytes=capacity, version=TorchVersion(2, draw(st.sampled_from(minors))))
