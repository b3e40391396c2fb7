"""What the peak of a stream that begins empty consists of: the bytes live at that moment by what for, by
module and by line.

Bytes are those requested; rounding and fragmentation have no line to blame.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrtool.memory.trace.allocation_trace import NO_SLOT, AllocationTrace, Op

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveShare:
    """Requested bytes at the peak that share a category, a module and the line of their birth."""

    category: str | None
    module: str | None
    source: str | None
    num_bytes: int


def shares_at_peak(stream: AllocationTrace, *, until_request: int | None = None) -> tuple[LiveShare, ...]:
    """The parts of the peak, largest first; with `until_request`, of what led up to the request of that number."""
    places, copies = _played(stream, len(stream) if until_request is None else until_request)
    totals: dict[tuple[str | None, str | None, str | None], int] = {}
    for index, num_bytes in _live_at_peak(stream, places, copies):
        note = stream.note(index)
        key = (note.category, note.module, note.source)
        totals[key] = totals.get(key, 0) + num_bytes
    shares = (
        LiveShare(category=category, module=module, source=source, num_bytes=num_bytes)
        for (category, module, source), num_bytes in totals.items()
        if num_bytes
    )
    return tuple(sorted(shares, key=lambda share: -share.num_bytes))


def _played(stream: AllocationTrace, num_requests: int) -> tuple[Integers, Integers]:
    """Places of allocations and frees in their order, and how many times each counts.

    Of rounds that repeat, the first and the last are played; what each round between them leaves behind, a tensor
    without a slot, counts once for each.
    """
    pieces = list(_pieces(stream, num_requests))
    if not pieces:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    places = np.concatenate([np.arange(start, stop) for start, stop, _ in pieces])
    copies = np.concatenate([np.full(stop - start, times) for start, stop, times in pieces])
    ops, slots = np.frombuffer(stream.ops, dtype=np.uint8)[places], np.asarray(stream.slots)[places]
    is_left_behind = (ops == Op.ALLOC) & (slots == NO_SLOT)
    chosen = np.where(copies == 1, (ops == Op.ALLOC) | (ops == Op.FREE), is_left_behind)
    return places[chosen], copies[chosen]


def _pieces(stream: AllocationTrace, num_requests: int) -> Iterator[tuple[int, int, int]]:
    """Ranges of stored requests, and how many times they happen: 1, or, of the rounds in the middle, more."""
    rest = num_requests
    for part in stream.parts():
        length = part.stop - part.start
        full = min(part.times, rest // length)
        yield from [(part.start, part.stop, 1)] * min(full, 1)
        yield from [(part.start, part.stop, full - 2)] * (full > 3)
        yield from [(part.start, part.stop, 1)] * (2 if full == 3 else min(full - 1, 1))
        rest -= full * length
        if full < part.times:
            yield part.start, part.start + rest, 1
            return


def _live_at_peak(stream: AllocationTrace, places: Integers, copies: Integers) -> Iterator[tuple[int, int]]:
    """(place, bytes) of the allocations that are live when the most is."""
    if not len(places):
        return
    is_birth = np.frombuffer(stream.ops, dtype=np.uint8)[places] == Op.ALLOC
    births = _births(np.asarray(stream.slots, dtype=np.int64)[places], is_birth)
    sizes = np.asarray(stream.values, dtype=np.int64)[places[births]] * copies[births]
    peak = int(np.cumsum(np.where(is_birth, sizes, -sizes)).argmax())
    begun = np.flatnonzero(is_birth[: peak + 1])
    live = np.setdiff1d(begun, births[: peak + 1][~is_birth[: peak + 1]])
    yield from zip(places[live].tolist(), sizes[live].tolist(), strict=True)


def _births(slots: Integers, is_birth: NDArray[np.bool_]) -> Integers:
    """For each allocation its own position, for each free that of the allocation it ends: the last one in its slot."""
    order = np.argsort(slots, kind="stable")
    births = np.empty(len(slots), dtype=np.int64)
    births[order] = np.where(is_birth[order], order, np.concatenate([order[:1], order[:-1]]))
    return births


UNKNOWN = "other"


def most_by_category(stream: AllocationTrace) -> Mapping[str, int]:
    """The most requested bytes of each category, each at its own time; what repeats is looked at once.

    Tensors whose category nobody told count as "other".
    """
    sizes = [0] * stream.num_slots
    categories = [UNKNOWN] * stream.num_slots
    live: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for index, op in enumerate(stream.ops):
        slot = stream.slots[index]
        if op == Op.ALLOC:
            category = stream.note(index).category or UNKNOWN
            sizes[slot], categories[slot] = stream.values[index], category
            live[category] += sizes[slot]
            most[category] = max(most[category], live[category])
        elif op == Op.FREE:
            live[categories[slot]] -= sizes[slot]
    return dict(most)
