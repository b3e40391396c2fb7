"""A trace with every estimated size at its least, or at its most."""

from array import array
from dataclasses import replace
from typing import Literal, get_args

from lrtool.memory.trace.allocation_trace import NO_NOTE, AllocationTrace, Note, Op

End = Literal["low", "high"]
ENDS: tuple[End, ...] = get_args(End)


def has_estimates(trace: AllocationTrace) -> bool:
    """Whether any size in the trace may be another."""
    return any(note.low_bytes is not None or note.high_bytes is not None for note in trace.note_table)


def at_end(trace: AllocationTrace, end: End) -> AllocationTrace:
    """The same requests, those of estimated sizes as small ("low") or as large ("high") as they may be."""
    bounds = [_bound(note, end) for note in trace.note_table]
    values = array("q", trace.values)
    for index, (op, note) in enumerate(zip(trace.ops, trace.notes, strict=True)):
        bound = bounds[note] if op == Op.ALLOC and note != NO_NOTE else None
        if bound is not None:
            values[index] = bound
    return replace(trace, values=values)


def _bound(note: Note, end: End) -> int | None:
    return note.low_bytes if end == "low" else note.high_bytes
