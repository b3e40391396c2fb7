"""The allocation trace: the requests a program made of the CUDA allocator, in order, in compact columns.

Every source (a live recorder, a tracer, a file) yields one, and the simulated allocator eats it.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from lrtool.errors import UsageError

MAX_SIZE_BYTES = 2**48
MAX_STREAM_ID = 2**63 - 1
ALL_STREAMS = -1
NO_SLOT = -1
NO_NOTE = -1


class TraceError(UsageError):
    """An allocation trace contradicts itself, or cannot be read."""


class Op(IntEnum):
    """What is asked of the allocator; STEP only marks where a training step begins."""

    ALLOC = 0
    FREE = 1
    RECORD_STREAM = 2
    ADVANCE = 3
    EMPTY_CACHE = 4
    RESET_PEAK = 5
    RESET_ACCUMULATED = 6
    SET_MEMORY_FRACTION = 7
    SET_LIMIT = 8
    SETTINGS = 9
    STEP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a source knows of an allocation beyond its size: `source` is `file.py:line`, `operator` torch's name of it.

    `module` is the name of the innermost module that runs, `has_graph` says that gradients were on in a forward pass.
    `shape` is the first tensor's, with its data type: "float32 [64, 10]". `device` is the number of the GPU. Where the size
    is an estimate, `low_bytes` and `high_bytes` are the least and the most it may be.
    """

    phase: str | None = None
    category: str | None = None
    source: str | None = None
    operator: str | None = None
    module: str | None = None
    has_graph: bool = False
    shape: str | None = None
    device: int = 0
    low_bytes: int | None = None
    high_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """The stored requests `start` to `stop` (excluded) happen `times` times in a row."""

    start: int
    stop: int
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartBlock:
    """A block that is live when the trace begins; `size` and `requested` in bytes, `source` as in a Note."""

    address: int
    size: int
    requested: int
    slot: int
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSegment:
    """A segment that is reserved when the trace begins; between its live blocks it is free."""

    address: int
    size: int
    stream: int
    is_small: bool
    is_expandable: bool
    blocks: tuple[StartBlock, ...]

    def free_pieces(self) -> Iterator[int]:
        """The sizes of what lies free before, between and behind its blocks."""
        begins = [*(block.address for block in self.blocks), self.address + self.size]
        ends = [self.address, *(block.address + block.size for block in self.blocks)]
        return (begin - end for end, begin in zip(ends, begins, strict=True) if begin > end)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartState:
    """What the process had reserved and allocated before its first recorded request.

    `num_guessed_blocks` were freed during the recording, so that only their requested sizes are known.
    """

    segments: tuple[StartSegment, ...] = ()
    num_guessed_blocks: int = 0

    @property
    def reserved_bytes(self) -> int:
        return sum(segment.size for segment in self.segments)

    @property
    def live_bytes(self) -> int:
        return sum(block.size for segment in self.segments for block in segment.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRequest:
    """The last out-of-memory that a recording holds, on the device of that number, in bytes; `earlier` are other requests
    that failed before it.

    `request` is its place among the trace's requests. `reserved_bytes` were held by then, `device_free_bytes` were free on
    the device, and `largest_free_bytes` is the largest free piece, of `free_bytes` in all.
    """

    device: int
    request: int
    size_bytes: int
    device_free_bytes: int
    reserved_bytes: int
    largest_free_bytes: int
    free_bytes: int
    source: str | None
    earlier: tuple[int, ...] = ()

    @property
    def capacity_bytes(self) -> int:
        """What there was for the process."""
        return self.device_free_bytes + self.reserved_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationTrace:
    """Requests as parallel columns: `ops[i]` acts on `slots[i]` (which tensor) with `values[i]` on `streams[i]`.

    A value is a size in bytes, a stream, a limit in bytes, or an index into `texts` or `fractions`. Slots are small
    numbers, reused once freed. `recorded_segments` are (address, bytes) of the segments that CUDA handed out, in order,
    and `recorded_settings` the allocator configuration of the recorded process, where the source knows them;
    `recorded_oom` is the last out-of-memory that it met. Without a history there is nothing but the `start`.
    """

    name: str
    ops: bytes
    slots: "array[int]"
    values: "array[int]"
    streams: "array[int]"
    notes: "array[int]"
    note_table: tuple[Note, ...] = ()
    texts: tuple[str, ...] = ()
    fractions: tuple[float, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    num_slots: int = 0
    start: StartState | None = None
    recorded_segments: tuple[tuple[int, int], ...] = ()
    recorded_settings: str | None = None
    recorded_oom: FailedRequest | None = None
    has_history: bool = True
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of requests as they happen, repetitions included."""
        return len(self.ops) + sum((each.times - 1) * (each.stop - each.start) for each in self.repeats)

    @property
    def has_manual_events(self) -> bool:
        """Events are done only when `advance` says so; without any `advance`, at once."""
        return Op.ADVANCE in self.ops

    def note(self, stored_index: int) -> Note:
        """What is known of the stored request; empty where the source said nothing."""
        number = self.notes[stored_index]
        return Note() if number == NO_NOTE else self.note_table[number]

    def parts(self) -> Iterator[Repeat]:
        """The trace as consecutive ranges of stored requests; what is not repeated has `times` 1."""
        position = 0
        for repeat in self.repeats:
            if position < repeat.start:
                yield Repeat(start=position, stop=repeat.start, times=1)
            yield repeat
            position = repeat.stop
        if position < len(self.ops):
            yield Repeat(start=position, stop=len(self.ops), times=1)
