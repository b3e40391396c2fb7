"""What the peak of a trace that begins empty consists of: the bytes live at that moment by what for, by
module and by line.

Bytes are those requested; rounding and fragmentation have no line to blame.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from lrtool.memory.trace.live import walk, walk_as_played

UNKNOWN = "other"
_Line = tuple[str | None, str | None, str | None]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LineAtPeak:
    """What one line has live at the peak, in bytes requested, in one phase; `shape`, `operator` and `module` are those of its
    largest tensor, and `num_alike` counts tensors like that.
    """

    source: str | None
    phase: str | None
    category: str | None
    module: str | None
    operator: str | None
    shape: str | None
    num_tensors: int
    num_alike: int
    num_bytes: int


def lines_at_peak(trace: AllocationTrace, *, of_last_step: bool = False) -> tuple[LineAtPeak, ...]:
    """Every line that has something live at the peak, or at that of the last step, largest first.

    What no line of a program made is left out.
    """
    walked = walk_as_played(trace, len(trace))
    if not len(walked.requests):
        return ()
    levels = np.cumsum(walked.changes)
    first = int(np.searchsorted(walked.requests, trace.ops.rfind(Op.STEP))) if of_last_step else 0
    live = walked.live_after(first + int(levels[first:].argmax()) + 1)
    sizes: dict[_Line, list[tuple[int, int]]] = {}
    for request, num_bytes in zip(walked.requests[live].tolist(), walked.changes[live].tolist(), strict=True):
        note = trace.note(request)
        if note.source is not None:
            sizes.setdefault((note.source, note.phase, note.category), []).append((num_bytes, request))
    found = (_line_at_peak(trace, line, of_line) for line, of_line in sizes.items())
    return tuple(sorted(found, key=lambda each: -each.num_bytes))


def _line_at_peak(trace: AllocationTrace, line: _Line, sizes: list[tuple[int, int]]) -> LineAtPeak:
    source, phase, category = line
    notes = [trace.note(request) for _, request in sizes]
    largest = trace.note(max(sizes)[1])
    alike = sum((note.operator, note.shape) == (largest.operator, largest.shape) for note in notes)
    return LineAtPeak(
        source=source,
        phase=phase,
        category=category,
        module=largest.module,
        operator=largest.operator,
        shape=largest.shape,
        num_tensors=len(sizes),
        num_alike=alike,
        num_bytes=sum(size for size, _ in sizes),
    )


def sizes_of(shape: str) -> tuple[int, ...]:
    """The sizes that a note's shape names: (64, 10) of "float32 [64, 10]"."""
    return tuple(map(int, re.findall(r"\d+", shape.partition("[")[2])))


def num_elements(shape: str) -> int:
    """Elements of a tensor of a note's shape."""
    return prod(sizes_of(shape))


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
