"""The allocator's state on one device, and the ways in which memory comes from the device and goes back to it."""

from lrtool.memory.allocator.blocks import TIE_BITS, Block, Pool, Segment
from lrtool.memory.allocator.config import UNLIMITED_BYTES, AllocatorSettings
from lrtool.memory.allocator.device import Device
from lrtool.memory.allocator.statistics import Statistics
from lrtool.memory.allocator.versions import TieOrder, TorchVersion


class AllocatorAssertError(Exception):
    """The real allocator fails with an internal assert, or corrupts its state, at this request."""


class Heap:
    """Pools, segments and counters, as they stand between two requests."""

    def __init__(self, settings: AllocatorSettings, *, device: Device, version: TorchVersion) -> None:
        self.settings = settings
        self.version = version
        self.device = device
        unset = settings.max_split_bytes == UNLIMITED_BYTES
        self.statistics = Statistics(max_split_size=-1 if unset else settings.max_split_bytes)
        self.small = Pool(is_small=True, tally=self.statistics.small, overall=self.statistics.overall)
        self.large = Pool(is_small=False, tally=self.statistics.large, overall=self.statistics.overall)
        self.segments: dict[int, Segment] = {}
        self.num_segments = 0
        self.num_blocks = 0
        self.ties_by_creation = version.tie_order is TieOrder.BLOCK_CREATION
        self.allowed_bytes: int | None = None
        if settings.memory_fraction is not None:
            self.allowed_bytes = int(settings.memory_fraction * device.total_bytes)

    @property
    def reserved_bytes(self) -> int:
        return self.statistics.overall.reserved_bytes

    @property
    def collects_garbage(self) -> bool:
        return self.allowed_bytes is not None and self.settings.garbage_collection_threshold > 0

    def set_memory_fraction(self, fraction: float) -> None:
        """Limit reserved memory to that part of the device's total, fixed from now on."""
        self.allowed_bytes = int(fraction * self.device.total_bytes)

    def is_allowed(self, num_bytes: int) -> bool:
        """Whether a fraction, if one is set, permits reserving so much more."""
        return self.allowed_bytes is None or self.reserved_bytes + num_bytes <= self.allowed_bytes

    def available_bytes(self) -> int:
        """What could still be reserved: free on the device, and within the fraction if one is set."""
        if self.allowed_bytes is None:
            return self.device.free_bytes
        return min(self.device.free_bytes, max(self.allowed_bytes - self.reserved_bytes, 0))

    def new_segment(
        self, size: int, *, pool: Pool, stream: int, page_bytes: int = 0, address: int | None = None
    ) -> Block:
        """A segment of one block which is not free yet; nothing is claimed of the device."""
        segment = Segment(
            index=self.num_segments,
            address=self.device.place(size) if address is None else address,
            size=size,
            pool=pool,
            stream=stream,
            page_bytes=page_bytes,
        )
        self.segments[segment.index] = segment
        self.num_segments += 1
        segment.first = self.new_block(segment, segment.address, size)
        return segment.first

    def new_block(self, segment: Segment, address: int, size: int) -> Block:
        self.num_blocks += 1
        return Block(segment, address, size, self.num_blocks)

    def make_free(self, block: Block) -> None:
        """Put a block into its pool's free set, under its place in the best-fit order."""
        tie = block.serial if self.ties_by_creation else block.address
        block.segment.pool.insert(block, block.size << TIE_BITS | tie)

    def reserve_segment(self, size: int, *, pool: Pool, stream: int) -> Block | None:
        """cudaMalloc of a whole segment, or None where the device has no room for it."""
        if not self.device.take(size):
            return None
        block = self.new_segment(size, pool=pool, stream=stream)
        for tally in pool.tallies:
            tally.add_segment()
            tally.add_reserved(size)
        if size >= self.settings.max_split_bytes:
            self.statistics.oversize_segments.increase()
        self.statistics.counts.num_device_alloc += 1
        self.device.note("segment_alloc", block.segment.index, 0, size)
        return block

    def release_segment(self, block: Block) -> None:
        """cudaFree of a segment which is one free block. Raises AllocatorAssertError where it is not."""
        if block.segment.page_bytes:
            raise AllocatorAssertError("torch releases an expandable block as if it were a segment: internal assert")
        if block.is_split:
            raise AllocatorAssertError(
                "torch releases a split block under live neighbours, after max_split_size_mb changed"
            )
        pool, size = block.segment.pool, block.size
        pool.remove(block)
        del self.segments[block.segment.index]
        self.device.give(size)
        for tally in pool.tallies:
            tally.segments -= 1
            tally.reserved_bytes -= size
        if size >= self.settings.max_split_bytes:
            self.statistics.oversize_segments.decrease()
        self.statistics.counts.num_device_free += 1
        self.device.note("segment_free", block.segment.index, 0, size)
