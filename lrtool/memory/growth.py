"""Growth of memory over the steps of a run: warm-up left out, what repeats told apart from what climbs, and a forecast.

Sequences in, figures out. Steps are compared a whole number of periods apart, so that an epoch's smaller last batch or
an evaluation every k steps is no growth; a series that repeats exactly, or climbs exactly, is answered exactly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lrtool.results import StepGrowth, StepSeries

MIN_STEPS = 3
STEADY_FROM_STEP = 2
"""The first step in which everything is there: optimizer state appears at the end of step 1."""
STEPS_OF_GROWTH = 6
_MOSTLY = 0.75
_FLAT_PART = 0.2
LONGEST_PERIOD_STEPS = 4096
"""Longer epochs are not searched for: the search is quadratic."""
_SCORED_STEPS = 1024
_HALF_WIDTH_95 = 0.98
"""Half of 1.96: a median's 95 % interval ends this many / sqrt(count) quantiles to either side (binomial, p = 1/2)."""
_PERIOD_TOLERANCE = 1.5
_STRAIGHT = 0.05
_MAX_FORECAST = 1_000_000

Bytes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentationGrowth:
    """Reserved memory climbs while active memory is flat: free pieces pile up that no request fits into."""

    reserved_bytes_per_step: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedGrowth:
    """Memory at the steps' ends rose until `until_step` to `level_bytes`, by `added_bytes`, and not beyond.

    With `falls` it fell again afterwards, and may rise anew.
    """

    until_step: int
    level_bytes: int
    added_bytes: int
    falls: bool


def bounded_growth(allocated_bytes: Sequence[int]) -> BoundedGrowth | None:
    """Growth that came to an end within a run; None where there is none, or it goes on.

    Steps before everything is there are taken to have added as much as the others did.
    It is growth where most of the steps up to the highest end higher than the one before, and an end where as many
    steps as make growth, and a fifth of those it took, follow without rising further.
    """
    levels = np.asarray(allocated_bytes[STEADY_FROM_STEP - 1 :], dtype=np.int64)
    if len(levels) < 2 * STEPS_OF_GROWTH:
        return None
    top = int(np.argmax(levels))
    rising, after = np.diff(levels[: top + 1]), levels[top + 1 :]
    is_growth = len(rising) >= STEPS_OF_GROWTH and np.count_nonzero(rising > 0) >= _MOSTLY * len(rising)
    if not is_growth or len(after) < max(STEPS_OF_GROWTH, top * _FLAT_PART):
        return None
    added = int(levels[top] - levels[0]) + STEADY_FROM_STEP * int(np.median(rising))
    return BoundedGrowth(
        until_step=top + STEADY_FROM_STEP,
        level_bytes=int(levels[top]),
        added_bytes=added,
        falls=bool(levels[top] - after.min() > added // 2),
    )


def step_growth(allocated_bytes: Sequence[int]) -> StepGrowth | None:
    """Growth per step of memory at the steps' ends, with its 95 % interval; None under 3 steps.

    Where more than half of the steps differ from those a period before by one and the same figure, that is the growth,
    exactly. Else it is the median slope over pairs of steps about a quarter of the run apart, which a jump, a spike or
    a late warm-up cannot bend; its interval is that of a median, widened where neighbours move together.
    """
    if len(allocated_bytes) < MIN_STEPS:
        return None
    series = np.asarray(allocated_bytes, dtype=np.int64)
    return _exact_growth(series) or _robust_growth(series)


def is_growing(growth: StepGrowth | None) -> bool:
    """Whether the whole interval lies above zero."""
    return growth is not None and growth.low_bytes_per_step > 0


def forecast_step(
    *,
    level_bytes: int,
    at_step: int,
    bytes_per_step: float | Fraction,
    capacity_bytes: int,
    within_step_bytes: int = 0,
) -> int | None:
    """The first step after `at_step` whose peak does not fit into the capacity; None where memory does not grow.

    Memory at the end of `at_step` is `level_bytes`, and rises `within_step_bytes` above that while a step runs.
    """
    room = capacity_bytes - level_bytes - within_step_bytes
    if room < 0:
        return at_step
    rate = Fraction(bytes_per_step)
    return None if rate <= 0 else at_step + math.floor(room / rate) + 1


def full_at_step(series: StepSeries, *, capacity_bytes: int) -> int | None:
    """The first step after those of `series` whose peak does not fit; None where the peaks do not grow, or by no law.

    The highest peak of each period counts. A straight rise, one that itself rises straight, and one by a constant ratio
    are laws. Where reserved memory climbs faster than what is allocated, that is lost in gaps that never close, and its
    rate is taken.
    """
    peaks = np.asarray(series.peak_allocated_bytes, dtype=np.int64)
    growth = step_growth(series.allocated_bytes)
    if growth is None or len(peaks) < MIN_STEPS:
        return None
    highest = _highest_of_each(peaks[growth.warmup_steps :], growth.period_steps)
    at_step = len(peaks) - int(np.argmax(peaks[::-1][: growth.period_steps]))
    rises = np.diff(highest)
    if len(rises) < 2 or _is_straight(rises):
        lost = step_growth(series.reserved_bytes)
        rate = max(growth.bytes_per_step, 0.0 if lost is None else lost.low_bytes_per_step)
        return forecast_step(
            level_bytes=int(highest[-1]), at_step=at_step, bytes_per_step=rate, capacity_bytes=capacity_bytes
        )
    periods = _periods_until_full(highest, capacity_bytes)
    return None if periods is None else at_step + periods * growth.period_steps


def _highest_of_each(peaks: Bytes, period: int) -> Bytes:
    """The highest of each whole period, counted from the end."""
    whole = len(peaks) // period
    return peaks[len(peaks) - whole * period :].reshape(whole, period).max(axis=1) if whole else peaks[-1:]


def _is_straight(rises: Bytes) -> bool:
    """Whether the later half of a series rises as fast as the earlier one."""
    earlier, later = (float(np.median(half)) for half in np.array_split(rises, 2))
    return abs(later - earlier) <= _STRAIGHT * max(abs(later), abs(earlier))


def _periods_until_full(highest: Bytes, capacity_bytes: int) -> int | None:
    rises = np.diff(highest).astype(float)
    of_rises = np.diff(rises)
    if len(of_rises) < MIN_STEPS or rises.min() <= 0:
        return None
    if _is_straight(of_rises) and np.median(of_rises) > 0:
        ratio, added = 1.0, float(np.median(of_rises))
    elif _is_straight(np.diff(np.log(rises))):
        ratio, added = float(np.exp(np.median(np.diff(np.log(rises))))), 0.0
    else:
        return None
    level, rise, count = float(highest[-1]), float(rises[-1]), 0
    while level <= capacity_bytes and count < _MAX_FORECAST:
        rise = rise * ratio + added
        level, count = level + rise, count + 1
    return count if level > capacity_bytes else None


def fragmentation_growth(reserved_bytes: Sequence[int], active_bytes: Sequence[int]) -> FragmentationGrowth | None:
    """How fast reserved memory climbs where active memory does not; None where it does not climb, or both do."""
    reserved, active = step_growth(reserved_bytes), step_growth(active_bytes)
    if reserved is None or active is None or not is_growing(reserved) or is_growing(active):
        return None
    return FragmentationGrowth(reserved_bytes_per_step=reserved.bytes_per_step)


def device_allocs_per_step(num_device_allocs: Sequence[int], *, warmup_steps: int) -> float | None:
    """Device allocations per step after the warm-up, from the cumulative count: 0 in a steady run."""
    after = num_device_allocs[max(warmup_steps, 1) - 1 :]
    return None if len(after) < 2 else (after[-1] - after[0]) / (len(after) - 1)


def _exact_growth(series: Bytes) -> StepGrowth | None:
    """Growth of a series that repeats, but for a constant rise, with the shortest period; None where it does not.

    Half of the steps must agree: fewer could be a straight piece within one longer period. Two periods of which one
    lies higher could be a jump: a rise must be seen twice.
    """
    num_steps = len(series)
    for period in range(1, min(num_steps // 2, LONGEST_PERIOD_STEPS) + 1):
        count = _equal_at_the_end(series[period:] - series[:-period])
        rise = int(series[-1] - series[-1 - period])
        if count >= max(2, 2 * period if rise else period) and 2 * count >= num_steps:
            return _growth(rise / period, rise / period, rise / period, num_steps - count - period, period)
    return None


def _equal_at_the_end(differences: Bytes) -> int:
    """How many of the last differences are all equal."""
    others = np.flatnonzero(differences != differences[-1])
    return len(differences) - (int(others[-1]) + 1 if len(others) else 0)


def _robust_growth(series: Bytes) -> StepGrowth:
    period = _period(series)
    warmup = _warmup(series, period)
    low, middle, high = _slope(series[warmup:], period)
    return _growth(middle, low, high, warmup, period)


def _period(series: Bytes) -> int:
    """The shortest lag at which steps differ about as little as at the best lag: 1 for noise without a pattern."""
    longest = min(len(series) // 2, LONGEST_PERIOD_STEPS)
    scores = np.array([_spread((series[lag:] - series[:-lag])[-_SCORED_STEPS:]) for lag in range(1, longest + 1)])
    return int(np.flatnonzero(scores <= _PERIOD_TOLERANCE * scores.min())[0]) + 1


def _spread(values: Bytes) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def _warmup(series: Bytes, period: int) -> int:
    """How many leading steps lie outside the band of the second half, trend removed, widened by half its width."""
    half = len(series) // 2
    _, slope, _ = _slope(series, period)
    rest = (series - series[-1]) - slope * np.arange(1 - len(series), 1)
    low, high = rest[half:].min(), rest[half:].max()
    margin = (high - low) / 2
    inside = (rest[:half] >= low - margin) & (rest[:half] <= high + margin)
    return int(np.argmax(inside)) if inside.any() else half


def _slope(series: Bytes, period: int) -> tuple[float, float, float]:
    """Low end, median and high end of the slope over all pairs of steps a quarter of the run apart, in whole periods."""
    lag = max(1, len(series) // 4 // period) * period
    lag = lag if lag < len(series) else 1
    slopes = (series[lag:] - series[:-lag]) / lag
    half_width = _HALF_WIDTH_95 * _error(slopes)
    low, middle, high = np.quantile(slopes, [max(0.0, 0.5 - half_width), 0.5, min(1.0, 0.5 + half_width)])
    return float(low), float(middle), float(high)


def _error(slopes: NDArray[np.float64]) -> float:
    """Standard error of the share of slopes below the median, times two; 1 / sqrt(count) where all are independent.

    Neighbours on one side of the median may be one event: a run of them counts as its length squared, over 3, which
    is the mean square of a run of coin tosses over its mean length.
    """
    side = np.sign(slopes - np.median(slopes))
    bounds = np.flatnonzero(np.concatenate([[True], side[1:] != side[:-1], [True]]))
    lengths, sides = np.diff(bounds), side[bounds[:-1]]
    weight = float(np.square(lengths[sides != 0]).sum()) / 3 + float(lengths[sides == 0].sum())
    return math.sqrt(weight) / len(slopes)


def _growth(middle: float, low: float, high: float, warmup: int, period: int) -> StepGrowth:
    return StepGrowth(
        bytes_per_step=middle,
        low_bytes_per_step=low,
        high_bytes_per_step=high,
        warmup_steps=warmup,
        period_steps=period,
    )
