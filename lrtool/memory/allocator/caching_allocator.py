"""PyTorch's CUDA caching allocator, simulated exactly: which block a request gets, and what that does to the pools.

Method names in backquotes are those of c10/cuda/CUDACachingAllocator.cpp, whose rules these functions restate.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from lrtool.memory.allocator.blocks import TIE_BITS, Block, PendingFrees, Pool
from lrtool.memory.allocator.config import (
    MIN_BLOCK_BYTES,
    SMALL_LIMIT_BYTES,
    UNLIMITED_BYTES,
    AllocatorSettings,
    parse_settings,
    round_size,
    segment_size,
)
from lrtool.memory.allocator.device import Device, Placement
from lrtool.memory.allocator.expandable import grow, note_free
from lrtool.memory.allocator.heap import Heap
from lrtool.memory.allocator.release import collect_garbage, release_everything, release_oversize
from lrtool.memory.allocator.versions import LATEST, TorchVersion
from lrtool.memory.metrics import Moment

_MAX_PLANS = 50_000
_Plan = tuple[int, int, Pool, int]


class OutOfMemoryError(Exception):
    """torch.cuda.OutOfMemoryError: the request failed, the cache was released for nothing."""


class Allocator(Heap):
    """The caching allocator of one device: `alloc`, `free` and the calls that steer it."""

    def __init__(
        self,
        settings: AllocatorSettings | None = None,
        *,
        total_bytes: int,
        version: TorchVersion = LATEST,
        manual_events: bool = False,
        recorded_segments: Sequence[tuple[int, int]] = (),
        placement: Placement = "up",
    ) -> None:
        device = Device(total_bytes, recorded_segments, placement)
        super().__init__(settings or AllocatorSettings(), device=device, version=version)
        self.pending = PendingFrees(is_manual=manual_events)
        self.at_peak: Moment | None = None
        self._grew = False
        self._plans: dict[int, _Plan] = {}
        self._follow_settings()

    def alloc(self, size: int, stream: int = 0) -> Block:
        """`malloc` of `size` > 0 bytes. Raises OutOfMemoryError, and AllocatorAssertError where torch would assert."""
        if self.pending:
            self._complete(self.pending.poll())
        rounded, key, pool, min_remainder = self._plans.get(size) or self._plan(size)
        keys = pool.keys[stream]
        index = bisect_left(keys, key)
        if self._is_plain and index < len(keys):
            block = pool.blocks.pop(keys.pop(index))
            block.key = 0
        else:
            block = self._fit(keys, index, pool, rounded) or self._obtain(rounded, pool, stream)
        if block.size - rounded >= min_remainder:
            block = self._split(block, rounded, keys, pool)
        elif (block.prev is not None or block.next is not None) and not block.segment.page_bytes:
            for tally in pool.tallies:
                tally.splits -= 1
                tally.split_bytes -= block.size
        block.is_live = True
        block.requested = size
        self._count_alloc(block.size, size, pool)
        if self._grew:
            self._note_peak()
        return block

    def free(self, block: Block) -> None:
        """`free` of a live block; it stays active until the streams that were recorded for it are done with it."""
        assert block.is_live
        block.is_live = False
        size = block.size
        tallies = block.segment.pool.tallies
        for tally in tallies:
            tally.allocations -= 1
            tally.allocated_bytes -= size
        if size >= self._max_split:
            self.statistics.oversize_allocations.decrease()
        if block.streams is None:
            self._free_block(block)
            return
        for tally in tallies:
            tally.pending += 1
            tally.pending_bytes += size
        self.pending.record(block)

    def record_stream(self, block: Block, stream: int) -> None:
        """`recordStream`: `block` is used by `stream` too; its own stream needs no recording."""
        if stream != block.segment.stream:
            block.streams = (block.streams or set()) | {stream}

    def advance(self, stream: int | None = None) -> None:
        """The GPU has finished all that was queued so far on `stream`, or on every stream."""
        self.pending.advance(stream)

    def empty_cache(self) -> None:
        """`release_cached_blocks`: wait for all events, then return all that is free to the device."""
        self._complete(self.pending.wait())
        self.statistics.counts.num_sync_all_streams += 1
        release_everything(self)

    def set_limit(self, num_bytes: int) -> None:
        """Make only `num_bytes` of the device available, as other processes on it would; never more than it has."""
        self.device.limit_bytes = min(num_bytes, self.device.total_bytes)

    def change_settings(self, conf: str) -> None:
        """Change settings at run time by a configuration string. Raises UsageError."""
        self.settings = parse_settings(conf, version=self.version, previous=self.settings)
        self._follow_settings()

    def memory_stats(self) -> dict[str, int]:
        """All statistics under their torch.cuda.memory_stats names; bytes and counts."""
        return self.statistics.memory_stats()

    def set_memory_fraction(self, fraction: float) -> None:
        super().set_memory_fraction(fraction)
        self._follow_settings()

    def now(self) -> Moment:
        """How memory is used at this moment."""
        tally = self.statistics.overall
        return Moment(
            allocated_bytes=tally.allocated_bytes,
            active_bytes=tally.active_bytes,
            requested_bytes=tally.requested_bytes,
            reserved_bytes=tally.reserved_bytes,
            inactive_split_bytes=tally.split_bytes,
            largest_free_bytes=self.largest_free_bytes(),
        )

    def largest_free_bytes(self) -> int:
        """The largest free block of any pool and stream."""
        ends = [keys[-1] >> TIE_BITS for pool in (self.small, self.large) for keys in pool.keys.values() if keys]
        return max(ends, default=0)

    def _note_peak(self) -> None:
        """Remember how memory was used when the most was reserved."""
        self._grew = False
        if self.at_peak is None or self.reserved_bytes > self.at_peak.reserved_bytes:
            self.at_peak = self.now()

    def _follow_settings(self) -> None:
        """What the hot path needs of the settings, kept at hand."""
        self._max_split = self.settings.max_split_bytes
        self._has_expandable = getattr(self, "_has_expandable", False) or self.settings.expandable_segments
        self._is_plain = self._max_split == UNLIMITED_BYTES and not self._has_expandable and not self.collects_garbage
        self._plans.clear()

    def _plan(self, size: int) -> _Plan:
        """(block size, least free key that fits, pool, least remainder worth splitting off) for a request."""
        settings = self.settings
        rounded = round_size(size, settings.divisions, keep_division_one=self.version.leaves_division_one_unrounded)
        pool = self.small if rounded <= SMALL_LIMIT_BYTES else self.large
        if pool.is_small or settings.expandable_segments:
            min_remainder = MIN_BLOCK_BYTES
        else:
            min_remainder = SMALL_LIMIT_BYTES + 1 if rounded < settings.max_split_bytes else UNLIMITED_BYTES
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        plan = self._plans[size] = (rounded, rounded << TIE_BITS, pool, min_remainder)
        return plan

    def _fit(self, keys: list[int], index: int, pool: Pool, size: int) -> Block | None:
        """`get_free_block`: take the best fit of one stream's free blocks, or None where it may not be used."""
        if self.collects_garbage:
            pool.clock += 1
        if self._has_expandable:
            index = self._skip_expandable(keys, index, pool)
        if index >= len(keys):
            return None
        block = pool.blocks[keys[index]]
        max_split = self._max_split
        if size < max_split <= block.size:
            return None
        if size >= max_split and block.size >= size + self.settings.non_split_slack_bytes:
            return None
        pool.remove(block)
        return block

    def _skip_expandable(self, keys: list[int], index: int, pool: Pool) -> int:
        """Index of the expandable block that would grow least, or of the next ordinary one with the option off."""
        blocks = pool.blocks
        if index >= len(keys) or not blocks[keys[index]].segment.page_bytes:
            return index
        if not self.settings.expandable_segments:
            while index < len(keys) and blocks[keys[index]].segment.page_bytes:
                index += 1
            return index
        while index + 1 < len(keys) and blocks[keys[index]].segment.page_bytes:
            if _expandable_size(blocks[keys[index + 1]]) >= _expandable_size(blocks[keys[index]]):
                break
            index += 1
        return index

    def _obtain(self, size: int, pool: Pool, stream: int) -> Block:
        """The ladder after a miss: collect garbage, ask the device, release a part, release all."""
        if self.collects_garbage:
            collect_garbage(self)
        block = self._alloc_block(size, pool, stream)
        if block is None and release_oversize(self, pool, stream=stream, size=size):
            block = self._alloc_block(size, pool, stream)
        if block is None:
            self.empty_cache()
            self.statistics.counts.num_alloc_retries += 1
            block = self._alloc_block(size, pool, stream)
        if block is None:
            self.statistics.counts.num_ooms += 1
            raise OutOfMemoryError
        self._grew = True
        return block

    def _alloc_block(self, size: int, pool: Pool, stream: int) -> Block | None:
        """`alloc_block`: new memory from the device within the fraction, or None."""
        wanted = segment_size(size, self.settings.large_segment_bytes)
        if not self.is_allowed(wanted):
            return None
        if self.settings.throw_on_oom and self._exceeds_fraction(wanted):
            self.statistics.counts.num_oom_rejections += 1
            raise OutOfMemoryError
        if self.settings.expandable_segments:
            return grow(self, pool, stream=stream, size=size)
        return self.reserve_segment(wanted, pool=pool, stream=stream)

    def _exceeds_fraction(self, num_bytes: int) -> bool:
        fraction = 1.0 if self.settings.memory_fraction is None else self.settings.memory_fraction
        return self.reserved_bytes + num_bytes > fraction * self.device.total_bytes

    def _split(self, rest: Block, size: int, keys: list[int], pool: Pool) -> Block:
        """Hand out the front of a block. The rest keeps its identity and is free again."""
        segment, before, address = rest.segment, rest.prev, rest.address
        self.num_blocks += 1
        front = Block(segment, address, size, self.num_blocks)
        was_split = before is not None or rest.next is not None
        front.prev = before
        front.next = rest
        if before is None:
            segment.first = front
        else:
            before.next = front
        rest.prev = front
        rest.address = address + size
        rest.size -= size
        rest.age_base = pool.clock
        key = rest.key = rest.size << TIE_BITS | (rest.serial if self.ties_by_creation else rest.address)
        pool.blocks[key] = rest
        insort(keys, key)
        if segment.page_bytes:
            return front
        for tally in pool.tallies:
            if was_split:
                tally.split_bytes -= size
            else:
                tally.change_splits(1, rest.size)
        return front

    def _count_alloc(self, size: int, requested: int, pool: Pool) -> None:
        own = pool.tally
        own.allocations_came += 1
        own.allocated_bytes_came += size
        own.requested_bytes_came += requested
        for tally in pool.tallies:
            tally.allocations = count = tally.allocations + 1
            if count > tally.allocations_peak:
                tally.allocations_peak = count
            tally.allocated_bytes = allocated = tally.allocated_bytes + size
            if allocated > tally.allocated_bytes_peak:
                tally.allocated_bytes_peak = allocated
            tally.requested_bytes = wanted = tally.requested_bytes + requested
            if wanted > tally.requested_bytes_peak:
                tally.requested_bytes_peak = wanted
            if tally.pending:
                tally.note_active_peaks()
        if size >= self._max_split:
            self.statistics.oversize_allocations.increase()

    def _complete(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            for tally in block.segment.pool.tallies:
                tally.pending -= 1
                tally.pending_bytes -= block.size
            self._free_block(block)

    def _free_block(self, block: Block) -> None:
        """`free_block`: merge with free neighbours, previous first, and make the whole free."""
        segment, requested = block.segment, block.requested
        pool = segment.pool
        blocks, keys = pool.blocks, pool.keys[segment.stream]
        merged = merged_bytes = 0
        other = block.prev
        if other is not None and other.key:
            del keys[bisect_left(keys, other.key)]
            del blocks[other.key]
            merged, merged_bytes = 1, other.size
            block.address = other.address
            block.prev = before = other.prev
            if before is None:
                segment.first = block
            else:
                before.next = block
        other = block.next
        if other is not None and other.key:
            del keys[bisect_left(keys, other.key)]
            del blocks[other.key]
            merged += 1
            merged_bytes += other.size
            block.next = after = other.next
            if after is not None:
                after.prev = block
        block.size = size = block.size + merged_bytes
        block.age_base = pool.clock
        key = block.key = size << TIE_BITS | (block.serial if self.ties_by_creation else block.address)
        blocks[key] = block
        insort(keys, key)
        if segment.page_bytes:
            note_free(block)
        is_split = block.prev is not None or block.next is not None
        for tally in pool.tallies:
            tally.requested_bytes -= requested
            if not segment.page_bytes:
                tally.change_splits(is_split - merged, (size if is_split else 0) - merged_bytes)


def _expandable_size(block: Block) -> int:
    """What a free block could grow to in place."""
    following = block.next
    return block.size + (following.size if following is not None and not following.is_mapped else 0)


class DeviceAllocationError(Exception):
    """cudaMalloc failed for a single tensor: torch raises a plain CUDA error, not OutOfMemoryError."""


class UncachedAllocator(Allocator):
    """Answers the same calls as the caching allocator; all its statistics stay 0, as torch's do."""

    def alloc(self, size: int, stream: int = 0) -> Block:
        """cudaMalloc of `size` > 0 bytes. Raises DeviceAllocationError."""
        if not self.device.take(size):
            raise DeviceAllocationError
        block = self.new_segment(size, pool=self.large, stream=stream)
        block.is_live = True
        block.requested = size
        self.device.note("segment_alloc", block.segment.index, 0, size)
        return block

    def free(self, block: Block) -> None:
        """cudaFree, at once."""
        assert block.is_live
        block.is_live = False
        self.device.give(block.size)
        del self.segments[block.segment.index]
        self.device.note("segment_free", block.segment.index, 0, block.size)

    def record_stream(self, block: Block, stream: int) -> None:
        """Nothing: cudaFree waits for the whole device anyway."""
