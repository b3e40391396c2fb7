"""Tells when traced training steps have become periodic, so that the rest of a run need not be traced.

A period is believed once a stretch of steps repeats that holds at least one whole epoch: a smaller last batch, or what
user code does at an epoch's end, must have been seen twice. Growing memory is watched longer before it counts as steady.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

NUM_CONFIRMATIONS = 2
LONG_PERIOD_STEPS = 8
MIN_STEPS_OF_GROWTH = 24
MAX_STEPS_OF_GROWTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From training step `first_step` (counted from 1) on, every `num_steps` steps make the same requests."""

    first_step: int
    num_steps: int


def find_period(digests: Sequence[bytes], *, epoch_steps: int | None, grows: bool) -> Period | None:
    """The shortest period that the last of `digests`, one for each training step, show; None where none is shown yet.

    `epoch_steps` is the number of steps after which the loader's batches begin anew, None where it is not known;
    `grows` tells that memory at the steps' ends rises.
    """
    count = len(digests)
    for period in range(1, count // 2 + 1):
        stretch = _steps_needed(period, epoch_steps, grows=grows)
        if stretch > count:
            continue
        if all(digests[i] == digests[i - period] for i in range(count - stretch + period, count)):
            return Period(first_step=_first_step(digests, period), num_steps=period)
    return None


def _steps_needed(period: int, epoch_steps: int | None, *, grows: bool) -> int:
    """How many steps at the end must repeat for a period to be believed."""
    confirmations = NUM_CONFIRMATIONS if period < LONG_PERIOD_STEPS else 1
    needed = period * (confirmations + 1)
    if epoch_steps is not None:
        needed = max(needed, epoch_steps + period)
    return max(needed, MIN_STEPS_OF_GROWTH) if grows else needed


def _first_step(digests: Sequence[bytes], period: int) -> int:
    """The first step (counted from 1) from which on all that was traced repeats with `period`."""
    first = len(digests) - period
    while first > 0 and digests[first - 1] == digests[first - 1 + period]:
        first -= 1
    return first + 1


def grows_regularly(live_bytes: Sequence[int]) -> bool:
    """Whether memory at the steps' ends has risen by one and the same amount for longer than growth is watched."""
    last = live_bytes[-MAX_STEPS_OF_GROWTH - 1 :]
    rises = {after - before for before, after in pairwise(last)}
    return len(last) > MAX_STEPS_OF_GROWTH and len(rises) == 1 and min(rises) > 0
