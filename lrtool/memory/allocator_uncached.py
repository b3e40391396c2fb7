"""PYTORCH_NO_CUDA_MEMORY_CACHING=1: every tensor is a cudaMalloc of its exact size, and nothing is counted."""

from lrtool.memory.allocator import Allocator
from lrtool.memory.allocator_blocks import Block


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
