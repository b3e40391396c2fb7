"""How the segments are divided at one moment of a replay: what a picture of fragmentation is drawn from."""

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
    stream: AllocationTrace, scenario: Scenario | None = None, *, request: int
) -> tuple[SegmentView, ...]:
    """The segments right after the request of that number, or as the run's death or end left them before it."""
    for prove in (True, False):
        allocator = build_allocator(stream, scenario or Scenario())
        stop = _Stop(request)
        try:
            oom = Player(stream, allocator, prove=prove, watch=stop).play()
        except _RequestReached:
            break
        if oom is not None or request >= len(stream):
            break
    return segment_views(allocator)


class _RequestReached(Exception):
    pass


class _Stop:
    """Ends a run after one request; it may be skipped by a proof, and then the run is made again without."""

    def __init__(self, request: int) -> None:
        self._request = request

    def __call__(self, request: int) -> None:
        if request == self._request:
            raise _RequestReached


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
