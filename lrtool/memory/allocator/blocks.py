"""The allocator's nouns: blocks, the segments they divide, and the pools that keep free ones ordered."""

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterator

from lrtool.memory.allocator.config import SMALL_SEGMENT_BYTES
from lrtool.memory.allocator.statistics import Tally

TIE_BITS = 64
"""A free block's key is `size << TIE_BITS | tie`, so that one integer comparison orders by size, then tie."""


class Segment:
    """One cudaMalloc, or one reservation of address space into which pages are mapped (`page_bytes` set)."""

    __slots__ = ("address", "first", "index", "page_bytes", "pool", "size", "stream")

    def __init__(self, *, index: int, address: int, size: int, pool: "Pool", stream: int, page_bytes: int) -> None:
        self.index = index
        self.address = address
        self.size = size
        self.pool = pool
        self.stream = stream
        self.page_bytes = page_bytes
        self.first: Block | None = None

    def blocks(self) -> Iterator["Block"]:
        """Blocks by address, unmapped ranges included."""
        block = self.first
        while block is not None:
            yield block
            block = block.next


class Block:
    """A contiguous piece of a segment: handed out, awaiting events, free (`key` set), or an unmapped range."""

    __slots__ = (
        "address", "age_base", "is_live", "is_mapped", "key", "next", "num_events", "prev", "requested",
        "segment", "serial", "size", "streams",
    )  # fmt: skip

    def __init__(self, segment: Segment, address: int, size: int, serial: int) -> None:
        self.segment = segment
        self.address = address
        self.size = size
        self.serial = serial
        self.key = 0
        self.requested = 0
        self.prev: Block | None = None
        self.next: Block | None = None
        self.age_base = 0
        self.num_events = 0
        self.streams: set[int] | None = None
        self.is_live = False
        self.is_mapped = True

    @property
    def is_split(self) -> bool:
        return self.prev is not None or self.next is not None

    @property
    def is_whole_segment(self) -> bool:
        return not self.segment.page_bytes and self.prev is None and self.next is None

    @property
    def offset(self) -> int:
        return self.address - self.segment.address


class Pool:
    """The free blocks of one size class, ordered per stream by size and tie; unmapped ranges by address."""

    __slots__ = ("barren", "blocks", "clock", "is_small", "keys", "tallies", "tally", "unmapped")

    def __init__(self, *, is_small: bool, tally: Tally, overall: Tally) -> None:
        self.is_small = is_small
        self.tally = tally
        self.tallies = (tally, overall)
        self.keys: defaultdict[int, list[int]] = defaultdict(list)
        self.blocks: dict[int, Block] = {}
        self.unmapped: defaultdict[int, list[Block]] = defaultdict(list)
        self.barren: dict[int, dict[int, int]] = {}
        """By stream and size: the address up to which no unmapped range begins so much room."""
        self.clock = 0

    def insert(self, block: Block, key: int) -> None:
        """Make `block` free under `key`; its age starts now."""
        block.key = key
        block.age_base = self.clock
        self.blocks[key] = block
        insort(self.keys[block.segment.stream], key)

    def remove(self, block: Block) -> None:
        """Take a free block out of the free set."""
        keys = self.keys[block.segment.stream]
        del keys[bisect_left(keys, block.key)]
        del self.blocks[block.key]
        block.key = 0

    def add_unmapped(self, block: Block) -> None:
        """Count a range as without pages; it keeps its address as long as it is one."""
        insort(self.unmapped[block.segment.stream], block, key=address_of)
        self.gains_room(block.segment.stream, block.address)

    def remove_unmapped(self, block: Block) -> None:
        """Take a range out of those without pages."""
        ranges = self.unmapped[block.segment.stream]
        index = bisect_left(ranges, block.address, key=address_of)
        while ranges[index] is not block:
            index += 1
        del ranges[index]

    def gains_room(self, stream: int, address: int) -> None:
        """A range that begins there, or after it, may have more room from now on."""
        barren = self.barren.get(stream, {})
        for size, until in barren.items():
            barren[size] = min(until, address)

    def in_order(self) -> list[Block]:
        """All free blocks by stream, size and tie."""
        return [self.blocks[key] for stream in sorted(self.keys) for key in self.keys[stream]]

    def page_bytes(self, large_segment_bytes: int) -> int:
        """The unit in which expandable segments of this pool are mapped."""
        return SMALL_SEGMENT_BYTES if self.is_small else large_segment_bytes


def address_of(block: Block) -> int:
    return block.address


class PendingFrees:
    """Events per stream in the order of their recording.

    They count as done at the next poll, unless `is_manual`: then only once `advance` was called after them.
    """

    __slots__ = ("_num_ready", "_queues", "is_manual")

    def __init__(self, *, is_manual: bool = False) -> None:
        self.is_manual = is_manual
        self._queues: dict[int, deque[Block]] = {}
        self._num_ready: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._queues)

    def record(self, block: Block) -> None:
        """Queue one event per stream that used the block; it completes when all of them did."""
        assert block.streams
        for stream in sorted(block.streams):
            self._queues.setdefault(stream, deque()).append(block)
            block.num_events += 1
        block.streams = None

    def advance(self, stream: int | None = None) -> None:
        """Let all events recorded so far on `stream`, or on every stream, be done."""
        for each in list(self._queues) if stream is None else [stream]:
            if each in self._queues:
                self._num_ready[each] = len(self._queues[each])

    def poll(self) -> Iterator[Block]:
        """Blocks whose last event is done, stream by stream, stopping at the first event that is not."""
        for stream in sorted(self._num_ready if self.is_manual else self._queues):
            yield from self._complete(stream, self._num_ready[stream] if self.is_manual else len(self._queues[stream]))

    def wait(self) -> Iterator[Block]:
        """Blocks whose last event is done once every event is."""
        for stream in sorted(self._queues):
            yield from self._complete(stream, len(self._queues[stream]))

    def _complete(self, stream: int, count: int) -> Iterator[Block]:
        queue = self._queues[stream]
        for _ in range(count):
            block = queue.popleft()
            block.num_events -= 1
            if block.num_events == 0:
                yield block
        if self._num_ready.get(stream, 0) > count:
            self._num_ready[stream] -= count
        else:
            self._num_ready.pop(stream, None)
        if not queue:
            del self._queues[stream]

    def snapshot(self) -> list[tuple[int, int, list[Block]]]:
        """(stream, events ready, waiting blocks in order) of every stream with events."""
        return [(stream, self._num_ready.get(stream, 0), list(self._queues[stream])) for stream in sorted(self._queues)]
