"""Rebuilds what a process held before the first event of its snapshot, by undoing the trace from the final segments."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace

from lrtool.memory.allocator.config import LARGE_SEGMENT_BYTES, MIN_BLOCK_BYTES, SMALL_LIMIT_BYTES, SMALL_SEGMENT_BYTES
from lrtool.memory.snapshot.contents import Event, FinalSegment, Snapshot
from lrtool.memory.trace.allocation_trace import MAX_SIZE_BYTES, StartBlock, StartSegment, StartState, TraceError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Live:
    """A block live before the first event; `size` is None where only the request is known."""

    address: int
    requested: int
    size: int | None
    source: str | None = None


def rebuild_start(snapshot: Snapshot, *, adopt: Callable[[Hashable], int]) -> StartState | None:
    """The state before the first event, or None where the pool was empty; `adopt` names a slot for each live block."""
    ranges = _undo_segments(snapshot)
    live = _undo_blocks(snapshot)
    if not ranges:
        if live:
            raise TraceError("blocks are freed that lie in no segment", hint="the snapshot's trace is incomplete")
        return None
    if sum(segment.size for segment in ranges) > MAX_SIZE_BYTES:
        raise TraceError("it begins with over 256 TiB, which no device has", hint="the snapshot's trace is incomplete")
    starts = [segment.address for segment in ranges]
    inside: list[list[_Live]] = [[] for _ in ranges]
    for block in live:
        index = bisect_right(starts, block.address) - 1
        if index < 0 or block.address >= _end(ranges[index]):
            raise TraceError(
                f"the block at {block.address:#x} lies in no segment", hint="the snapshot's trace is incomplete"
            )
        inside[index].append(block)
    segments = tuple(
        replace(segment, blocks=_laid_out(segment, blocks, adopt))
        for segment, blocks in zip(ranges, inside, strict=True)
    )
    return StartState(segments=segments, num_guessed_blocks=sum(block.size is None for block in live))


def _undo_segments(snapshot: Snapshot) -> list[StartSegment]:
    """The segments before the first event: allocations undone, releases taken back, last event first."""
    held = _Held(map(_as_start, snapshot.segments))
    for number, event in zip(range(len(snapshot.events) - 1, -1, -1), reversed(snapshot.events), strict=True):
        try:
            if event.action == "segment_alloc":
                held.drop(event.address)
            elif event.action == "segment_free":
                held.add(_released(event))
            elif event.action == "segment_map":
                held.cut(event.address, event.address + event.size)
            elif event.action == "segment_unmap":
                held.join(event)
        except TraceError as error:
            raise TraceError(f"event {number}: {error.message}", hint=error.hint) from None
    return held.by_address()


class _Held:
    """Segments that do not overlap, found by their addresses."""

    def __init__(self, segments: Iterable[StartSegment]) -> None:
        self._by_address = {segment.address: segment for segment in segments}
        self._starts = sorted(self._by_address)

    def by_address(self) -> list[StartSegment]:
        return [self._by_address[start] for start in self._starts]

    def drop(self, address: int) -> None:
        """Leave out the segment that begins there, if there is one."""
        if self._by_address.pop(address, None) is not None:
            del self._starts[bisect_left(self._starts, address)]

    def add(self, segment: StartSegment) -> None:
        """Raises TraceError where another one lies there."""
        end = segment.address + segment.size
        if any(each.address < end and segment.address < _end(each) for each in self._near(segment.address, end)):
            raise TraceError(
                f"what is released at {segment.address:#x} was not there alone",
                hint="the snapshot's trace is incomplete",
            )
        self._by_address[segment.address] = segment
        insort(self._starts, segment.address)

    def cut(self, begin: int, end: int) -> None:
        """Leave out a range that was mapped."""
        for segment in list(self._near(begin, end)):
            if _end(segment) <= begin or segment.address >= end:
                continue
            if not segment.is_expandable:
                raise TraceError(
                    f"what is mapped at {begin:#x} lies in a segment that cannot grow",
                    hint="the snapshot's trace is incomplete",
                )
            self.drop(segment.address)
            for low, high in ((segment.address, begin), (end, _end(segment))):
                if low < high:
                    self.add(replace(segment, address=low, size=high - low))

    def join(self, event: Event) -> None:
        """Put back a range that was unmapped, joined to the neighbours that it touches."""
        begin, end = event.address, event.address + event.size
        touching = [s for s in self._near(begin, end) if s.is_expandable and (_end(s) == begin or s.address == end)]
        for segment in touching:
            self.drop(segment.address)
        first, last = min([begin, *(s.address for s in touching)]), max([end, *map(_end, touching)])
        small = touching[0].is_small if touching else event.size % LARGE_SEGMENT_BYTES != 0
        self.add(
            StartSegment(
                address=first, size=last - first, stream=event.stream, is_small=small, is_expandable=True, blocks=()
            )
        )

    def _near(self, begin: int, end: int) -> Iterator[StartSegment]:
        """Those that overlap or touch a range, and perhaps the one before it."""
        index = max(bisect_left(self._starts, begin) - 1, 0)
        while index < len(self._starts) and self._starts[index] <= end:
            yield self._by_address[self._starts[index]]
            index += 1


def _end(segment: StartSegment) -> int:
    return segment.address + segment.size


def _released(event: Event) -> StartSegment:
    return StartSegment(
        address=event.address,
        size=event.size,
        stream=event.stream,
        is_small=event.size == SMALL_SEGMENT_BYTES,
        is_expandable=False,
        blocks=(),
    )


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
        block.address: _Live(address=block.address, requested=block.requested, size=block.size, source=block.source)
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
        laid_out.append(
            StartBlock(address=block.address, size=size, requested=block.requested, slot=slot, source=block.source)
        )
    return tuple(laid_out)
