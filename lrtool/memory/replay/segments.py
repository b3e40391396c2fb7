"""How the segments are divided at one moment of a replay: what a plot of fragmentation is drawn from."""

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from lrtool.memory.allocator.blocks import Block, Segment
from lrtool.memory.allocator.caching_allocator import Allocator
from lrtool.memory.replay.player import Player
from lrtool.memory.replay.replay import Scenario, build_allocator
from lrtool.memory.trace.allocation_trace import AllocationTrace


class BlockState(Enum):
    """The names are those of torch.cuda.memory._snapshot; UNMAPPED is address space without memory behind it."""

    ALLOCATED = "active_allocated"
    PENDING_FREE = "active_pending_free"
    INACTIVE = "inactive"
    UNMAPPED = "unmapped"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockView:
    """One block: bytes from the segment's start, its size, and what was asked for."""

    offset_bytes: int
    size_bytes: int
    requested_bytes: int
    state: BlockState


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentView:
    """One segment with its blocks by address; `index` counts segments in the order of their creation."""

    index: int
    address: int
    size_bytes: int
    stream: int
    is_small: bool
    is_expandable: bool
    blocks: tuple[BlockView, ...]

    @property
    def free_bytes(self) -> int:
        return sum(block.size_bytes for block in self.blocks if block.state is BlockState.INACTIVE)


def segment_views(allocator: Allocator) -> tuple[SegmentView, ...]:
    """All segments by address."""
    return tuple(_view(each) for each in sorted(allocator.segments.values(), key=lambda segment: segment.address))


def segments_after(
    trace: AllocationTrace, scenario: Scenario | None = None, *, request: int
) -> tuple[SegmentView, ...]:
    """The segments right after the request of that number, or as a request that failed or the end left them before it."""
    return segment_views(played_until(trace, scenario or Scenario(), request=request).allocator)


def played_until(trace: AllocationTrace, scenario: Scenario, *, request: int) -> Player:
    """A replay that stops right after the request of that number, or before the first where it is below 0.

    Where a proof would skip the request, all is played.
    """
    if request < 0:
        return Player(trace, build_allocator(trace, scenario))

    def stop(number: int) -> None:
        if number == request:
            raise _RequestReached

    for prove in (True, False):
        player = Player(trace, build_allocator(trace, scenario), prove=prove, watch=stop)
        with suppress(_RequestReached):
            if player.play() is None and request < len(trace):
                continue
        break
    return player


class _RequestReached(Exception):
    pass


def _view(segment: Segment) -> SegmentView:
    return SegmentView(
        index=segment.index,
        address=segment.address,
        size_bytes=segment.size,
        stream=segment.stream,
        is_small=segment.pool.is_small,
        is_expandable=segment.page_bytes > 0,
        blocks=tuple(
            BlockView(
                offset_bytes=block.offset,
                size_bytes=block.size,
                requested_bytes=block.requested if block.is_live or block.num_events else 0,
                state=_state(block),
            )
            for block in segment.blocks()
        ),
    )


def _state(block: Block) -> BlockState:
    if block.is_live:
        return BlockState.ALLOCATED
    if not block.is_mapped:
        return BlockState.UNMAPPED
    return BlockState.INACTIVE if block.key else BlockState.PENDING_FREE
