"""Blocks freed while another stream may still use them, waiting for that stream's events."""

from collections import defaultdict, deque
from collections.abc import Iterator

from lrtool.memory.allocator_blocks import Block


class PendingFrees:
    """Events per stream in the order of their recording.

    They count as done at the next poll, unless `is_manual`: then only once `advance` was called after them.
    """

    __slots__ = ("_num_ready", "_queues", "is_manual")

    def __init__(self, *, is_manual: bool = False) -> None:
        self.is_manual = is_manual
        self._queues: dict[int, deque[Block]] = {}
        self._num_ready: defaultdict[int, int] = defaultdict(int)

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
            self._num_ready[each] = len(self._queues.get(each, ()))

    def poll(self) -> Iterator[Block]:
        """Blocks whose last event is done, stream by stream, stopping at the first event that is not."""
        for stream in sorted(self._queues):
            queue = self._queues[stream]
            yield from self._complete(stream, self._num_ready[stream] if self.is_manual else len(queue))

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
        self._num_ready[stream] = max(self._num_ready[stream] - count, 0)
        if not queue:
            del self._queues[stream]

    def snapshot(self) -> list[tuple[int, int, list[Block]]]:
        """(stream, events ready, waiting blocks in order) of every stream with events."""
        return [(stream, self._num_ready[stream], list(self._queues[stream])) for stream in sorted(self._queues)]
