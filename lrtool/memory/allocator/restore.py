"""Puts an allocator into the state in which a recorded process was when its trace began."""

from collections import defaultdict
from collections.abc import Iterator

from lrtool.memory.allocator.blocks import Block, Pool
from lrtool.memory.allocator.caching_allocator import Allocator, UncachedAllocator
from lrtool.memory.trace.allocation_trace import StartBlock, StartSegment, StartState


def restore(allocator: Allocator, start: StartState) -> dict[int, Block]:
    """Reserve and allocate what `start` says; returns the live block of each slot.

    Start segments count as reserved in the order of their addresses. Where they are more than the device has, what is only
    cached goes back, as on any cudaMalloc that fails; see `holds` for whether the rest fits.
    """
    live = _restored(allocator, start)
    if not holds(allocator) and not isinstance(allocator, UncachedAllocator):
        allocator.empty_cache()
        allocator.statistics.counts.num_alloc_retries += 1
        _reset_peaks(allocator)
    return live


def holds(allocator: Allocator) -> bool:
    """Whether what is reserved is no more than the device has, and than a memory fraction allows."""
    return allocator.device.used_bytes <= allocator.device.limit_bytes and allocator.is_allowed(0)


def _restored(allocator: Allocator, start: StartState) -> dict[int, Block]:
    if isinstance(allocator, UncachedAllocator):
        return dict(_restore_tensors(allocator, start))
    live: dict[int, Block] = {}
    groups: defaultdict[tuple[bool, int], list[StartSegment]] = defaultdict(list)
    for segment in start.segments:
        if segment.is_expandable:
            groups[segment.is_small, segment.stream].append(segment)
        else:
            live |= _restore_segment(allocator, segment)
    for ranges in groups.values():
        live |= _restore_reservation(allocator, ranges, start)
    _reset_peaks(allocator)
    return live


def _reset_peaks(allocator: Allocator) -> None:
    for tally in allocator.statistics.tallies:
        tally.reset_peaks()


def _restore_tensors(allocator: UncachedAllocator, start: StartState) -> Iterator[tuple[int, Block]]:
    for segment in start.segments:
        for tensor in segment.blocks:
            allocator.device.hold(tensor.address, tensor.requested)
            block = allocator.new_segment(
                tensor.requested, pool=allocator.large, stream=segment.stream, address=tensor.address
            )
            block.is_live, block.requested = True, tensor.requested
            yield tensor.slot, block


def _restore_segment(allocator: Allocator, segment: StartSegment) -> dict[int, Block]:
    pool = allocator.small if segment.is_small else allocator.large
    whole = allocator.new_segment(segment.size, pool=pool, stream=segment.stream, address=segment.address)
    allocator.device.hold(segment.address, segment.size)
    for tally in pool.tallies:
        tally.add_segment()
        tally.add_reserved(segment.size)
    live: dict[int, Block] = {}
    _divide(allocator, whole, segment, live)
    free = [block for block in whole.segment.blocks() if block.key and block.is_split]
    for tally in pool.tallies:
        tally.change_splits(len(free), sum(block.size for block in free))
    return live


def _restore_reservation(allocator: Allocator, ranges: list[StartSegment], start: StartState) -> dict[int, Block]:
    """Mapped ranges of one pool and stream as parts of one reservation that begins with the first of them."""
    ranges = sorted(ranges, key=lambda each: each.address)
    base, end = ranges[0].address, ranges[-1].address + ranges[-1].size
    pool = allocator.small if ranges[0].is_small else allocator.large
    page = pool.page_bytes(allocator.settings.large_segment_bytes)
    total = allocator.device.total_bytes
    room = min((each.address for each in start.segments if each.address >= end), default=None)
    size = max(-(-(total + total // 8) // page) * page, end - base)
    size = size if room is None else min(size, room - base)
    block = allocator.new_segment(size, pool=pool, stream=ranges[0].stream, page_bytes=page, address=base)
    live: dict[int, Block] = {}
    for mapped in ranges:
        block = _cut(allocator, block, mapped.address, is_mapped=False)
        following = _cut(allocator, block, mapped.address + mapped.size, is_mapped=True)
        allocator.device.hold(mapped.address, mapped.size)
        for tally in pool.tallies:
            tally.add_reserved(mapped.size)
        _divide(allocator, block, mapped, live)
        block = following
    if block.address < base + size:
        block.is_mapped = False
        pool.add_unmapped(block)
    return live


def _cut(allocator: Allocator, block: Block, address: int, *, is_mapped: bool) -> Block:
    """End `block` at `address`, if it lies inside; returns what follows."""
    if address <= block.address:
        return block
    block.is_mapped = is_mapped
    rest = allocator.new_block(block.segment, address, block.address + block.size - address)
    block.size = address - block.address
    if not is_mapped:
        block.segment.pool.add_unmapped(block)
    if rest.size:
        rest.prev, rest.next = block, block.next
        block.next = rest
    return rest


def _divide(allocator: Allocator, block: Block, segment: StartSegment, live: dict[int, Block]) -> None:
    """Turn one mapped, taken block into the live blocks of `segment` with free ones between."""
    pool = block.segment.pool
    end = segment.address + segment.size
    for tensor in segment.blocks:
        if tensor.address > block.address:
            block = _split_free(allocator, block, tensor.address)
        following = (
            _split_off(allocator, block, tensor.address + tensor.size) if tensor.address + tensor.size < end else None
        )
        _make_live(block, tensor, pool)
        live[tensor.slot] = block
        if following is None:
            return
        block = following
    allocator.make_free(block)


def _split_free(allocator: Allocator, block: Block, address: int) -> Block:
    rest = _split_off(allocator, block, address)
    allocator.make_free(block)
    return rest


def _split_off(allocator: Allocator, block: Block, address: int) -> Block:
    rest = allocator.new_block(block.segment, address, block.address + block.size - address)
    block.size = address - block.address
    rest.prev, rest.next = block, block.next
    if block.next is not None:
        block.next.prev = rest
    block.next = rest
    return rest


def _make_live(block: Block, tensor: StartBlock, pool: Pool) -> None:
    block.is_live, block.requested = True, tensor.requested
    pool.tally.allocations_came += 1
    pool.tally.allocated_bytes_came += block.size
    pool.tally.requested_bytes_came += tensor.requested
    for tally in pool.tallies:
        tally.allocations += 1
        tally.allocated_bytes += block.size
        tally.requested_bytes += tensor.requested
