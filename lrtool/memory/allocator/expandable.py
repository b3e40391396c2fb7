"""Expandable segments: address space reserved once, into which physical pages are mapped and unmapped."""

from bisect import bisect_left
from itertools import islice

from lrtool.memory.allocator.blocks import Block, Pool, address_of
from lrtool.memory.allocator.heap import Heap

MAX_SIZES = 64


def grow(heap: Heap, pool: Pool, *, stream: int, size: int) -> Block | None:
    """`try_allocate_expandable_block`: a mapped, taken block of at least `size` bytes, or None without room for it.

    Pages are mapped range by range; what was mapped before a range failed stays mapped, and free.
    """
    block = _find_room(heap, pool, stream=stream, size=size)
    if block is None or (not block.is_mapped and not _map(heap, block, min(block.size, size))):
        return None
    while block.size < size:
        unmapped = block.next
        assert unmapped is not None
        if not _map(heap, unmapped, min(size - block.size, unmapped.size)):
            return None
        block = unmapped
    pool.remove(block)
    return block


def release_pages(heap: Heap, block: Block) -> None:
    """`unmap_block`: give back the whole pages inside a free block; an empty reservation is dropped."""
    segment = block.segment
    pool, page, base = segment.pool, segment.page_bytes, segment.address
    begin = -(-(block.address - base) // page) * page + base
    end = (block.address + block.size - base) // page * page + base
    if begin < end:
        pool.remove(block)
        _split_off_leftovers(heap, block, begin=begin, end=end)
        block.is_mapped = False
        _account(heap, block, begin - end)
        heap.device.note("segment_unmap", segment.index, begin - base, end - begin)
        _merge(block, block.prev)
        _merge(block, block.next)
        pool.add_unmapped(block)
    if block.prev is None and block.next is None and not block.is_mapped:
        pool.remove_unmapped(block)
        del heap.segments[segment.index]


def note_free(block: Block) -> None:
    """A block of an expandable segment has become free: from where its neighbours without pages begin, there is more room."""
    pool, first = block.segment.pool, block
    if pool.barren.get(block.segment.stream):
        while first.prev is not None and (first.prev.key or not first.prev.is_mapped):
            first = first.prev
        pool.gains_room(block.segment.stream, first.address)


def _find_room(heap: Heap, pool: Pool, *, stream: int, size: int) -> Block | None:
    """The first block, by address of unmapped ranges, from which `size` bytes are free or unmapped in a row.

    Which of them have no such room is remembered: with thousands of holes, each request would try all of them again.
    """
    ranges, barren = pool.unmapped[stream], pool.barren.setdefault(stream, {})
    until = max((until for least, until in barren.items() if least <= size), default=0)
    if len(barren) >= MAX_SIZES:
        barren.clear()
    for unmapped in islice(ranges, bisect_left(ranges, until, key=address_of), None):
        before = unmapped.prev
        start = before if before is not None and before.key else unmapped
        if _room_from(start, size):
            barren[size] = unmapped.address
            return start
    barren[size] = ranges[-1].address + 1 if ranges else 0
    page = pool.page_bytes(heap.settings.large_segment_bytes)
    total = heap.device.total_bytes
    reservation = -(-(total + total // 8) // page) * page
    if size > reservation:
        return None
    block = heap.new_segment(reservation, pool=pool, stream=stream, page_bytes=page)
    block.is_mapped = False
    pool.add_unmapped(block)
    return block


def _room_from(start: Block, size: int) -> bool:
    found, block = 0, start
    while found < size:
        if not block.key and block.is_mapped:
            return False
        found += block.size
        if block.next is None:
            break
        block = block.next
    return found >= size


def _map(heap: Heap, block: Block, size: int) -> bool:
    """`map_block`: back the start of an unmapped range with pages, all or nothing, and make it free memory."""
    segment = block.segment
    page = segment.page_bytes
    mapped = min(-(-size // page) * page, block.size)
    if not heap.device.take(mapped):
        return False
    pool = segment.pool
    pool.remove_unmapped(block)
    if mapped < block.size:
        rest = heap.new_block(segment, block.address + mapped, block.size - mapped)
        rest.is_mapped = False
        _link_after(block, rest)
        block.size = mapped
        pool.add_unmapped(rest)
    block.is_mapped = True
    heap.device.note("segment_map", segment.index, block.address - segment.address, mapped)
    _account(heap, block, mapped)
    _merge(block, block.prev)
    _merge(block, block.next)
    heap.make_free(block)
    return True


def _account(heap: Heap, block: Block, change: int) -> None:
    """Count pages mapped (change > 0) or unmapped; one call to the device per range."""
    counts = heap.statistics.counts
    if change > 0:
        counts.num_device_alloc += 1
        for tally in block.segment.pool.tallies:
            tally.add_reserved(change)
        return
    heap.device.give(-change)
    counts.num_device_free += 1
    for tally in block.segment.pool.tallies:
        tally.reserved_bytes += change


def _split_off_leftovers(heap: Heap, block: Block, *, begin: int, end: int) -> None:
    """Keep what lies before the first and after the last whole page as free blocks of their own."""
    stop = block.address + block.size
    if begin > block.address:
        before = heap.new_block(block.segment, block.address, begin - block.address)
        _link_before(block, before)
        heap.make_free(before)
    if stop > end:
        after = heap.new_block(block.segment, end, stop - end)
        _link_after(block, after)
        heap.make_free(after)
    block.address, block.size = begin, end - begin


def _merge(block: Block, neighbour: Block | None) -> None:
    """Absorb a neighbour that is free like a mapped `block`, or unmapped like an unmapped one."""
    if neighbour is None or neighbour.is_mapped != block.is_mapped or (neighbour.is_mapped and not neighbour.key):
        return
    pool = block.segment.pool
    if neighbour.is_mapped:
        pool.remove(neighbour)
    else:
        pool.remove_unmapped(neighbour)
    if neighbour is block.prev:
        block.address = neighbour.address
        block.prev = neighbour.prev
        if block.prev is None:
            block.segment.first = block
        else:
            block.prev.next = block
    else:
        block.next = neighbour.next
        if block.next is not None:
            block.next.prev = block
    block.size += neighbour.size


def _link_before(block: Block, new: Block) -> None:
    new.prev, new.next = block.prev, block
    if block.prev is None:
        block.segment.first = new
    else:
        block.prev.next = new
    block.prev = new


def _link_after(block: Block, new: Block) -> None:
    new.prev, new.next = block, block.next
    if block.next is not None:
        block.next.prev = new
    block.next = new
