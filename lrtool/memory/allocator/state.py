"""The allocator's state in a form that can be compared: equal states answer equal requests equally, for ever."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from lrtool.memory.allocator.blocks import Block, Segment
from lrtool.memory.allocator.caching_allocator import Allocator
from lrtool.memory.allocator.statistics import EventCounts, Stat, Tally

Quick = tuple[int, ...]
State = tuple[object, ...]
_CAME = tuple(field.name for field in fields(Tally) if field.name.endswith("_came"))


def quick_state(allocator: Allocator) -> Quick:
    """A few numbers that differ wherever states differ much; they cost next to nothing."""
    tally = allocator.statistics.overall
    return (
        tally.allocated_bytes,
        tally.requested_bytes,
        tally.allocations,
        tally.pending,
        tally.reserved_bytes,
        tally.segments,
        tally.split_bytes,
        tally.splits,
        len(allocator.segments),
        allocator.device.used_bytes,
    )


def full_state(allocator: Allocator, live: Sequence[Block | None]) -> State:
    """All that future answers depend on, free of names: counters, addresses and creation numbers only as an order."""
    segments = _by_address(allocator)
    slots = {id(block): slot for slot, block in enumerate(live) if block is not None and block.is_live}
    places = {id(block): place for place, block in enumerate(_all_blocks(segments))}
    ranks = _creation_ranks(segments) if allocator.ties_by_creation else {}
    pending = [
        (stream, ready, tuple(places[id(block)] for block in blocks))
        for stream, ready, blocks in allocator.pending.snapshot()
    ]
    return (
        allocator.settings,
        allocator.allowed_bytes,
        allocator.device.limit_bytes,
        allocator.device.num_recorded,
        tuple(pending),
        tuple(_segment_state(segment, slots, ranks) for segment in segments),
    )


def check_invariants(allocator: Allocator) -> None:
    """Assert that segments are divided without gaps or overlaps, and that counters and free sets say the same."""
    live = waiting = free = num_free = 0
    for segment in allocator.segments.values():
        position = segment.address
        for block in segment.blocks():
            assert block.address == position, "blocks overlap, or leave a gap"
            position += block.size
            if block.is_live:
                live += block.size
            elif block.key:
                free, num_free = free + block.size, num_free + 1
            elif block.is_mapped:
                waiting += block.size
        assert position == segment.address + segment.size, "the blocks do not add up to their segment"
    tally = allocator.statistics.overall
    assert (live, live + waiting) == (tally.allocated_bytes, tally.active_bytes)
    assert live + waiting + free == tally.reserved_bytes == allocator.device.used_bytes
    assert tally.active_bytes + tally.split_bytes <= tally.reserved_bytes
    assert num_free == len(allocator.small.blocks) + len(allocator.large.blocks)


def _all_blocks(segments: list[Segment]) -> list[Block]:
    return [block for segment in segments for block in segment.blocks()]


def _creation_ranks(segments: list[Segment]) -> dict[int, int]:
    in_order = sorted(_all_blocks(segments), key=lambda block: block.serial)
    return {id(block): rank for rank, block in enumerate(in_order)}


def _segment_state(segment: Segment, slots: dict[int, int], ranks: dict[int, int]) -> State:
    pool = segment.pool
    blocks = tuple(
        (
            block.size,
            slots.get(id(block), -1),
            block.requested if block.is_live or block.num_events else 0,
            pool.clock - block.age_base if block.key else -1,
            block.is_mapped,
            block.num_events,
            tuple(sorted(block.streams or ())),
            ranks.get(id(block), 0),
        )
        for block in segment.blocks()
    )
    return (pool.is_small, segment.stream, segment.page_bytes, segment.size, blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What only ever grows: cumulative counters, and the numbers given to segments (those held, by address)."""

    came: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    oversize: tuple[tuple[int, int], ...]
    num_segments: int
    segments: tuple[int, ...]
    device_calls: tuple[int, int]


def progress_of(allocator: Allocator) -> Progress:
    """Where the cumulative counters stand."""
    statistics = allocator.statistics
    return Progress(
        came=tuple(tuple(getattr(tally, name) for name in _CAME) for tally in statistics.tallies),
        counts=tuple(getattr(statistics.counts, field.name) for field in fields(EventCounts)),
        oversize=tuple((stat.allocated, stat.freed) for stat in _oversize(allocator)),
        num_segments=allocator.num_segments,
        segments=tuple(segment.index for segment in _by_address(allocator)),
        device_calls=(allocator.device.num_allocs, allocator.device.num_frees),
    )


def skip_periods(allocator: Allocator, *, since: Progress, times: int, counts_stand: bool) -> None:
    """Add `times` more of the growth since `since`, as if the requests had been made that often.

    `counts_stand` says that the requests reset the counters, so that these end each period where they stand now.
    """
    now, statistics = progress_of(allocator), allocator.statistics
    _renumber(allocator, since, times)
    device, (num_allocs, num_frees) = allocator.device, since.device_calls
    device.num_allocs += times * (device.num_allocs - num_allocs)
    device.num_frees += times * (device.num_frees - num_frees)
    if counts_stand:
        return
    for tally, then, here in zip(statistics.tallies, since.came, now.came, strict=True):
        for name, before, after in zip(_CAME, then, here, strict=True):
            setattr(tally, name, after + times * (after - before))
    for field, before, after in zip(fields(EventCounts), since.counts, now.counts, strict=True):
        setattr(statistics.counts, field.name, after + times * (after - before))
    for stat, (allocated, freed) in zip(_oversize(allocator), since.oversize, strict=True):
        stat.allocated += times * (stat.allocated - allocated)
        stat.freed += times * (stat.freed - freed)


def _renumber(allocator: Allocator, since: Progress, times: int) -> None:
    """Number the segments as `times` more periods would: a period moves each place's segment on, or makes it anew."""
    places = _by_address(allocator)
    numbers, grown = [segment.index for segment in places], allocator.num_segments - since.num_segments
    came_from = {number: place for place, number in enumerate(since.segments)}
    for place, segment in enumerate(places):
        periods = times
        while periods and numbers[place] in came_from and came_from[numbers[place]] != place:
            place, periods = came_from[numbers[place]], periods - 1
        is_new = numbers[place] >= since.num_segments
        segment.index = numbers[place] + (grown * periods if is_new else 0)
    allocator.segments = {segment.index: segment for segment in places}
    allocator.num_segments += grown * times


def _by_address(allocator: Allocator) -> list[Segment]:
    return sorted(allocator.segments.values(), key=lambda segment: segment.address)


def _oversize(allocator: Allocator) -> tuple[Stat, Stat]:
    return allocator.statistics.oversize_allocations, allocator.statistics.oversize_segments
