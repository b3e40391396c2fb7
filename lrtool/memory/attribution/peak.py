"""What the peak of a trace that begins empty consists of: the bytes live at that moment by what for, by
module and by line.

Bytes are those requested; rounding and fragmentation have no line to blame.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lrtool.memory.trace.allocation_trace import AllocationTrace
from lrtool.memory.trace.live import walk, walk_as_played

UNKNOWN = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakPart:
    """Requested bytes at the peak that have in common a category, a module and the line of their birth."""

    category: str | None
    module: str | None
    source: str | None
    num_bytes: int


def peak_breakdown(trace: AllocationTrace, *, until_request: int | None = None) -> tuple[PeakPart, ...]:
    """The parts of the peak, largest first; with `until_request`, of what led up to the request of that number."""
    walked = walk_as_played(trace, len(trace) if until_request is None else until_request)
    if not len(walked.requests):
        return ()
    live = walked.live_after(int(np.cumsum(walked.changes).argmax()) + 1)
    totals: Counter[tuple[str | None, str | None, str | None]] = Counter()
    for request, num_bytes in zip(walked.requests[live].tolist(), walked.changes[live].tolist(), strict=True):
        note = trace.note(request)
        totals[note.category, note.module, note.source] += num_bytes
    return tuple(
        PeakPart(category=category, module=module, source=source, num_bytes=num_bytes)
        for (category, module, source), num_bytes in totals.most_common()
        if num_bytes
    )


def most_by_category(trace: AllocationTrace) -> Mapping[str, int]:
    """The most requested bytes of each category, each at its own time; what repeats is looked at once.

    Tensors whose category nobody told count as "other".
    """
    walked = walk(trace)
    names = [*(note.category or UNKNOWN for note in trace.note_table), UNKNOWN]  # NO_NOTE finds the last
    numbers = np.array([names.index(name) for name in names])
    of_each = numbers[np.asarray(trace.notes)[walked.requests[walked.births]]]
    return {
        names[number]: int(np.cumsum(walked.changes[of_each == number]).max())
        for number in dict.fromkeys(of_each.tolist())
    }
