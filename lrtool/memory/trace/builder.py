"""Collects the requests of any source into an allocation trace, refusing what cannot happen."""

import heapq
from array import array
from collections.abc import Hashable
from dataclasses import dataclass, field

from lrtool.memory.trace.allocation_trace import (
    ALL_STREAMS,
    MAX_SIZE_BYTES,
    MAX_STREAM_ID,
    NO_NOTE,
    NO_SLOT,
    AllocationTrace,
    FailedRequest,
    Note,
    Op,
    Repeat,
    StartState,
    TraceError,
)

MAX_REPEATS = 10_000_000
MAX_STREAMS = 1_000
"""Streams with memory of their own: torch makes 32 of a priority, and a library few."""


@dataclass(slots=True)
class _OpenRepeat:
    """A repetition being written: tensors keep their slots in it, so that each round can act on the same ones."""

    start: int
    times: int
    live_before: frozenset[Hashable]
    slots: dict[Hashable, int] = field(default_factory=dict)


class TraceBuilder:
    """Collects requests into an AllocationTrace; every method raises TraceError on what cannot happen."""

    def __init__(self, name: str = "trace") -> None:
        self._name = name
        self._ops = bytearray()
        self._slots, self._values = array("i"), array("q")
        self._streams, self._notes = array("q"), array("i")
        self._note_numbers: dict[Note, int] = {}
        self._texts: dict[str, int] = {}
        self._fractions: dict[float, int] = {}
        self._repeats: list[Repeat] = []
        self._live: dict[Hashable, int] = {}
        self._free_slots: list[int] = []
        self._num_slots = 0
        self._own_streams: set[int] = set()
        self._open: _OpenRepeat | None = None

    def __len__(self) -> int:
        return len(self._ops)

    def __contains__(self, key: object) -> bool:
        """Whether the tensor `key` is live."""
        return key in self._live

    def alloc(self, key: Hashable | None, size: int, *, stream: int = 0, note: Note | None = None) -> None:
        """Ask for `size` bytes on `stream`; a tensor without a `key` is never freed."""
        if not 0 <= size <= MAX_SIZE_BYTES:
            raise TraceError(
                f"alloc of {_named(size)} bytes", hint=f"a size lies between 0 and {MAX_SIZE_BYTES} bytes (256 TiB)"
            )
        if stream not in self._own_streams:
            self._add_stream(stream)
        slot = NO_SLOT if key is None else self._claim_slot(key)
        number = NO_NOTE if note is None else self._note_numbers.setdefault(note, len(self._note_numbers))
        self._append(Op.ALLOC, slot=slot, value=size, stream=stream, note=number)

    def free(self, key: Hashable) -> None:
        """Free the live tensor `key`."""
        slot = self._live.pop(key, None)
        if slot is None:
            raise TraceError(
                f"free of {_named(key)}, which is not allocated here", hint="it was never allocated, or freed before"
            )
        if self._open is None:
            heapq.heappush(self._free_slots, slot)
        else:
            self._open.slots[key] = slot
        self._append(Op.FREE, slot=slot)

    def record_stream(self, key: Hashable, stream: int) -> None:
        """The live tensor `key` is used by `stream` too."""
        if key not in self._live:
            raise TraceError(f"record_stream of {_named(key)}, which is not allocated here", hint="allocate it first")
        self._append(Op.RECORD_STREAM, slot=self._live[key], value=_checked_stream(stream))

    def advance(self, stream: int | None = None) -> None:
        """The GPU has finished what was queued on `stream`, or on every stream."""
        self._append(Op.ADVANCE, value=ALL_STREAMS if stream is None else _checked_stream(stream))

    def call(self, op: Op) -> None:
        """A request without arguments: EMPTY_CACHE, RESET_PEAK, RESET_ACCUMULATED or STEP."""
        self._append(op)

    def set_memory_fraction(self, fraction: float) -> None:
        """torch.cuda.set_per_process_memory_fraction."""
        if not 0 <= fraction <= 1:
            raise TraceError(f"memory fraction {_named(fraction)}", hint="a fraction lies between 0 and 1")
        self._append(Op.SET_MEMORY_FRACTION, value=self._fractions.setdefault(float(fraction), len(self._fractions)))

    def set_limit(self, num_bytes: int) -> None:
        """From now on the device has only `num_bytes` for this process."""
        if not 0 <= num_bytes <= MAX_SIZE_BYTES:
            raise TraceError(
                f"limit of {_named(num_bytes)} bytes", hint=f"a limit lies between 0 and {MAX_SIZE_BYTES} bytes"
            )
        self._append(Op.SET_LIMIT, value=num_bytes)

    def change_settings(self, conf: str) -> None:
        """The allocator's settings change at run time."""
        self._append(Op.SETTINGS, value=self._texts.setdefault(conf, len(self._texts)))

    def begin_repeat(self, times: int) -> None:
        """What follows, up to `end_repeat`, happens `times` times."""
        if self._open is not None:
            raise TraceError("a repeat inside a repeat", hint="close the first with end_repeat")
        if not 1 <= times <= MAX_REPEATS:
            raise TraceError(
                f"repeat {_named(times)} times", hint=f"the number of times lies between 1 and {MAX_REPEATS}"
            )
        self._open = _OpenRepeat(start=len(self._ops), times=times, live_before=frozenset(self._live))

    def end_repeat(self) -> None:
        """Close the repetition; a round must leave the same tensors allocated that it found."""
        opened, self._open = self._open, None
        if opened is None:
            raise TraceError("end_repeat without a repeat", hint="open it with repeat")
        changed = opened.live_before.symmetric_difference(self._live)
        if changed and opened.times > 1:
            raise TraceError(
                f"the repeated requests do not leave {min(map(_named, changed))} as they found it",
                hint="free in a round what it allocates; an alloc with id null stands for what is never freed",
            )
        for key, slot in opened.slots.items():
            if key not in self._live:
                heapq.heappush(self._free_slots, slot)
        if len(self._ops) > opened.start:
            self._repeats.append(Repeat(start=opened.start, stop=len(self._ops), times=opened.times))

    def adopt(self, key: Hashable) -> int:
        """The slot of a tensor that is live when the trace begins."""
        return self._claim_slot(key)

    def build(
        self,
        *,
        start: StartState | None = None,
        recorded_segments: tuple[tuple[int, int], ...] = (),
        recorded_settings: str | None = None,
        recorded_oom: FailedRequest | None = None,
        has_history: bool = True,
        warnings: tuple[str, ...] = (),
    ) -> AllocationTrace:
        """The finished trace."""
        if self._open is not None:
            raise TraceError("the trace ends inside a repeat", hint="close it with end_repeat")
        return AllocationTrace(
            name=self._name,
            ops=bytes(self._ops),
            slots=self._slots,
            values=self._values,
            streams=self._streams,
            notes=self._notes,
            note_table=tuple(self._note_numbers),
            texts=tuple(self._texts),
            fractions=tuple(self._fractions),
            repeats=tuple(self._repeats),
            num_slots=self._num_slots,
            start=start,
            recorded_segments=recorded_segments,
            recorded_settings=recorded_settings,
            recorded_oom=recorded_oom,
            has_history=has_history,
            warnings=warnings,
        )

    def _add_stream(self, stream: int) -> None:
        self._own_streams.add(_checked_stream(stream))
        if len(self._own_streams) > MAX_STREAMS:
            raise TraceError(f"allocations on over {MAX_STREAMS} streams", hint="is it a recording of one process?")

    def _append(self, op: Op, *, slot: int = NO_SLOT, value: int = 0, stream: int = 0, note: int = NO_NOTE) -> None:
        self._ops.append(op)
        self._slots.append(slot)
        self._values.append(value)
        self._streams.append(stream)
        self._notes.append(note)

    def _claim_slot(self, key: Hashable) -> int:
        """The smallest free slot, so that equal steps get equal slots; in a repetition, the key's own."""
        if key in self._live:
            raise TraceError(
                f"alloc of {_named(key)}, which is allocated already", hint="free it first, or use a new id"
            )
        slot = self._open.slots.pop(key, None) if self._open is not None else None
        if slot is None and self._free_slots:
            slot = heapq.heappop(self._free_slots)
        elif slot is None:
            slot = self._num_slots
            self._num_slots += 1
        self._live[key] = slot
        return slot


def _checked_stream(stream: int) -> int:
    if not 0 <= stream <= MAX_STREAM_ID:
        raise TraceError(f"stream {_named(stream)}", hint="a stream is a number from 0 on")
    return stream


def _named(key: Hashable) -> str:
    text = repr(key)
    return text if len(text) <= 40 else f"{text[:40]}..."
