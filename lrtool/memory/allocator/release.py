"""How cached memory goes back to the device: on failure, on empty_cache, and by garbage collection."""

from bisect import bisect_left

from lrtool.memory.allocator.blocks import TIE_BITS, Pool
from lrtool.memory.allocator.config import UNLIMITED_BYTES
from lrtool.memory.allocator.expandable import release_pages
from lrtool.memory.allocator.heap import Heap


def release_everything(heap: Heap) -> None:
    """`release_cached_blocks`: every whole free segment of all streams, and all whole pages of expandable ones."""
    for pool in (heap.large, heap.small):
        expandable = []
        for block in pool.in_order():
            if block.segment.page_bytes:
                expandable.append(block)
            elif block.is_whole_segment:
                heap.release_segment(block)
        for block in expandable:
            release_pages(heap, block)


def release_oversize(heap: Heap, pool: Pool, *, stream: int, size: int) -> bool:
    """`release_available_cached_blocks`: oversize blocks of this pool and stream, until `size` bytes came free.

    False where that was not reached; what was released stays released. Raises AllocatorAssertError.
    """
    max_split = heap.settings.max_split_bytes
    if max_split == UNLIMITED_BYTES:
        return False
    wanted = max(size, max_split)
    keys = pool.keys[stream]
    index = bisect_left(keys, wanted << TIE_BITS)
    if index < len(keys) and not pool.blocks[keys[index]].segment.page_bytes:
        heap.release_segment(pool.blocks[keys[index]])
        return True
    return _release_from_the_largest(heap, pool, stream=stream, below=index, wanted=wanted) >= wanted


def _release_from_the_largest(heap: Heap, pool: Pool, *, stream: int, below: int, wanted: int) -> int:
    """Release downwards from the block before index `below`; returns the bytes released."""
    released = 0
    for key in reversed(pool.keys[stream][:below]):
        block = pool.blocks[key]
        if released >= wanted or block.size < heap.settings.max_split_bytes:
            break
        if block.segment.page_bytes and not heap.version.asserts_on_releasing_expandable:
            continue
        released += block.size
        heap.release_segment(block)
    return released


def collect_garbage(heap: Heap) -> None:
    """`garbage_collect_cached_blocks`: whole large segments of average age or older, until below the threshold."""
    assert heap.allowed_bytes is not None
    limit = int(heap.settings.garbage_collection_threshold * heap.allowed_bytes)
    target, pool, reclaimed = heap.reserved_bytes - limit, heap.large, 0
    if target <= 0:
        return
    unsplit = [block for block in pool.in_order() if not block.is_split]
    total_age = sum(pool.clock - block.age_base for block in unsplit)
    num_unsplit = len(unsplit)
    candidates = [block for block in unsplit if not block.segment.page_bytes]
    while reclaimed < target and num_unsplit > 0:
        threshold = total_age / num_unsplit
        old = [block for block in candidates if pool.clock - block.age_base >= threshold]
        if not old:
            return
        for block in old:
            reclaimed += block.size
            total_age -= pool.clock - block.age_base
            heap.release_segment(block)
        num_unsplit -= len(old)
        candidates = [block for block in candidates if block.key]
