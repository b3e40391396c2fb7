"""What is live when: one walk over a trace, which pairs every free with the allocation it ends."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrtool.memory.trace.allocation_trace import NO_SLOT, AllocationTrace, Op

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The allocations and frees of a trace as columns, in their order; a free of what was live before it is left out.

    `requests` are stored requests, `births` the position in the columns of the allocation that each makes or ends, and
    `changes` the requested bytes it adds or frees.
    """

    requests: Integers
    births: Integers
    changes: Integers

    def live_after(self, count: int | None = None) -> Integers:
        """Positions of the allocations that are live after the first `count` of the columns' rows, or after all."""
        births = self.births[:count]
        is_live = births == np.arange(len(births))
        is_live[births[~is_live]] = False
        return np.flatnonzero(is_live)


def walk(trace: AllocationTrace) -> Walk:
    """Every stored request once, however often it happens."""
    requests = np.arange(len(trace.ops))
    return _paired(trace, requests, np.ones_like(requests))


def walk_as_played(trace: AllocationTrace, num_requests: int) -> Walk:
    """The first `num_requests` requests as they happen.

    Of rounds that repeat, the first and the last are played; what each round between them leaves behind, a tensor
    without a slot, counts once for each.
    """
    pieces = [(np.arange(start, stop), times) for start, stop, times in _pieces(trace, num_requests)]
    requests = np.concatenate([np.zeros(0, dtype=np.int64), *(piece for piece, _ in pieces)])
    copies = np.repeat([times for _, times in pieces], [len(piece) for piece, _ in pieces]).astype(np.int64)
    is_left_behind = np.asarray(trace.slots)[requests] == NO_SLOT
    chosen = (copies == 1) | is_left_behind
    return _paired(trace, requests[chosen], copies[chosen])


def _pieces(trace: AllocationTrace, num_requests: int) -> Iterator[tuple[int, int, int]]:
    """Ranges of stored requests, and how many times they happen: 1, or, of the rounds in the middle, more."""
    rest = num_requests
    for part in trace.parts():
        length = part.stop - part.start
        full = min(part.times, rest // length)
        yield from [(part.start, part.stop, 1)] * min(full, 1)
        yield from [(part.start, part.stop, full - 2)] * (full > 3)
        yield from [(part.start, part.stop, 1)] * (2 if full == 3 else min(full - 1, 1))
        rest -= full * length
        if full < part.times:
            yield part.start, part.start + rest, 1
            return


def _paired(trace: AllocationTrace, requests: Integers, copies: Integers) -> Walk:
    """The walk over these requests, each counted `copies` times; a free ends what was last allocated in its slot."""
    ops = np.frombuffer(trace.ops, dtype=np.uint8)[requests]
    kept = (ops == Op.ALLOC) | (ops == Op.FREE)
    requests, is_birth = requests[kept], ops[kept] == Op.ALLOC
    slots = np.asarray(trace.slots)[requests]
    order = np.argsort(slots, kind="stable")
    before = np.concatenate([order[:1], order[:-1]])
    births = np.empty_like(order)
    births[order] = np.where(is_birth[order], order, before)
    is_known = is_birth[births] & (slots[births] == slots)
    sizes = np.asarray(trace.values, dtype=np.int64)[requests[births]] * copies[kept]
    new_positions = np.cumsum(is_known) - 1
    return Walk(
        requests=requests[is_known],
        births=new_positions[births[is_known]],
        changes=np.where(is_birth, sizes, -sizes)[is_known],
    )
