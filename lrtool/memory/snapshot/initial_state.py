"""Rebuilds what a process held before the first event of its snapshot, by undoing the trace from the final segments."""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace

from lrtool.memory.allocator.config import LARGE_SEGMENT_BYTES, MIN_BLOCK_BYTES, SMALL_LIMIT_BYTES, SMALL_SEGMENT_BYTES
from lrtool.memory.snapshot.contents import Event, FinalSegment, Snapshot
from lrtool.memory.trace.allocation_trace import StartBlock, StartSegment, StartState, TraceError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Live:
    """A block live before the first event; `size` is None where only the request is known."""

    address: int
    requested: int
    size: int | None


def rebuild_start(snapshot: Snapshot, *, adopt: Callable[[Hashable], int]) -> StartState | None:
    """The state before the first event, or None where the pool was empty; `adopt` names a slot for each live block."""
    ranges = _undo_segments(snapshot)
    live = _undo_blocks(snapshot)
    if not ranges:
        if live:
            raise TraceError("blocks are freed that lie in no segment", hint="the snapshot's trace is incomplete")
        return None
    by_address = sorted(ranges, key=lambda segment: segment.address)
    starts = [segment.address for segment in by_address]
    inside: list[list[_Live]] = [[] for _ in by_address]
    for block in live:
        index = bisect_right(starts, block.address) - 1
        if index < 0 or block.address >= starts[index] + by_address[index].size:
            raise TraceError(
                f"the block at {block.address:#x} lies in no segment", hint="the snapshot's trace is incomplete"
            )
        inside[index].append(block)
    segments = tuple(
        replace(segment, blocks=_laid_out(segment, blocks, adopt))
        for segment, blocks in zip(by_address, inside, strict=True)
    )
    return StartState(segments=segments, num_guessed_blocks=sum(block.size is None for block in live))


def _undo_segments(snapshot: Snapshot) -> list[StartSegment]:
    """The segments before the first event: allocations undone, releases taken back, last event first."""
    held = {segment.address: _as_start(segment) for segment in snapshot.segments}
    for event in reversed(snapshot.events):
        if event.action == "segment_alloc":
            held.pop(event.address, None)
        elif event.action == "segment_free":
            held[event.address] = StartSegment(
                address=event.address,
                size=event.size,
                stream=event.stream,
                is_small=event.size == SMALL_SEGMENT_BYTES,
                is_expandable=False,
                blocks=(),
            )
        elif event.action in ("segment_map", "segment_unmap"):
            _undo_mapping(held, event)
    return list(held.values())


def _undo_mapping(held: dict[int, StartSegment], event: Event) -> None:
    """Cut out a range that was mapped, or put back one that was unmapped, joined to its neighbours."""
    begin, end = event.address, event.address + event.size
    touching = [s for s in held.values() if s.is_expandable and s.address <= end and begin <= s.address + s.size]
    for segment in touching:
        del held[segment.address]
    if event.action == "segment_unmap":
        first = min([begin, *(s.address for s in touching)])
        last = max([end, *(s.address + s.size for s in touching)])
        small = touching[0].is_small if touching else event.size % LARGE_SEGMENT_BYTES != 0
        held[first] = StartSegment(
            address=first, size=last - first, stream=event.stream, is_small=small, is_expandable=True, blocks=()
        )
        return
    for segment in touching:
        for low, high in ((segment.address, min(begin, segment.address + segment.size)),
                          (max(end, segment.address), segment.address + segment.size)):  # fmt: skip
            if low < high:
                held[low] = replace(segment, address=low, size=high - low)


def _as_start(segment: FinalSegment) -> StartSegment:
    return StartSegment(
        address=segment.address,
        size=segment.size,
        stream=segment.stream,
        is_small=segment.is_small,
        is_expandable=segment.is_expandable,
        blocks=(),
    )


def _undo_blocks(snapshot: Snapshot) -> list[_Live]:
    """Blocks live before the first event: still there at the end, or freed without having been allocated."""
    live = {
        block.address: _Live(address=block.address, requested=block.requested, size=block.size)
        for segment in snapshot.segments
        for block in segment.blocks
        if block.is_active
    }
    for event in reversed(snapshot.events):
        if event.action == "alloc":
            live.pop(event.address, None)
        elif event.action == "free_requested":
            known = live.get(event.address)
            live[event.address] = known or _Live(address=event.address, requested=event.size, size=None)
        elif event.action == "free_completed":
            live[event.address] = _Live(address=event.address, requested=event.size, size=None)
    return sorted(live.values(), key=lambda block: block.address)


def _laid_out(
    segment: StartSegment, blocks: Iterable[_Live], adopt: Callable[[Hashable], int]
) -> tuple[StartBlock, ...]:
    """Blocks with sizes. No free block of a large segment is as small as 1 MiB: such a gap belongs to its block."""
    ordered = list(blocks)
    ends = [*(block.address for block in ordered[1:]), segment.address + segment.size]
    laid_out = []
    for block, end in zip(ordered, ends, strict=False):
        size = block.size or -(-max(block.requested, 1) // MIN_BLOCK_BYTES) * MIN_BLOCK_BYTES
        gap = end - block.address - size
        if gap < 0:
            raise TraceError(
                f"the block at {block.address:#x} overlaps the next", hint="the snapshot's trace is incomplete"
            )
        if block.size is None and not segment.is_small and not segment.is_expandable and gap <= SMALL_LIMIT_BYTES:
            size += gap
        slot = adopt(block.address)
        laid_out.append(StartBlock(address=block.address, size=size, requested=block.requested, slot=slot))
    return tuple(laid_out)
