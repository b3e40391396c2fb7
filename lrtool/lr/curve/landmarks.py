"""Landmarks of a range test's curve: where the loss begins to fall, is half down, lowest, rising and gone. Pure.

Places are indices into the curve until they are put into `Landmarks`, which holds them as LRs. Every threshold is a part
of the descent, so neither the sign nor the scale of the loss matters.
"""

import math
from dataclasses import dataclass

import numpy as np

from lrtool.lr.curve.smoothing import SIGMA_OVER_MAD, SMOOTHING_SPAN, Losses, head_length, span_of
from lrtool.results import Curve, Landmarks

BEGUN = 0.1
HALF = 0.5
GIVEN_BACK = 0.1
DIVERGED = 0.5
FIRST_BASIN = 0.8
PLATEAU_DECADES = 0.7
PLATEAU_PART = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Indices of landmarks on smoothed losses; None where the curve does not reach them. `drop` is in the loss's unit."""

    descent: int
    half_descent: int
    minimum: int
    settled: int
    upturn: int | None
    divergence: int | None
    drop: float


def landmarks(curve: Curve) -> Landmarks:
    """The landmarks of a curve of at least one point."""
    smooth = np.asarray(curve.smoothed_loss)
    places = find_places(smooth)
    second = second_descent(smooth, places)
    plateau = resting_place(np.log10(curve.lr), smooth, places)
    return Landmarks(
        descent=curve.lr[places.descent],
        half_descent=curve.lr[places.half_descent],
        minimum=curve.lr[places.minimum],
        upturn=None if places.upturn is None else curve.lr[places.upturn],
        divergence=None if places.divergence is None else curve.lr[places.divergence],
        settled=curve.lr[places.settled],
        second_descent=None if second is None else curve.lr[second],
        plateau=None if plateau is None else curve.lr[plateau],
        drop=places.drop,
        noise=noise_around(curve, 0, places.minimum),
        noise_at_minimum=noise_around(curve, places.minimum - span_of(len(smooth)), places.minimum),
        falls_from_start=places.descent < 2 * head_length(len(smooth)),
    )


def find_places(smooth: Losses) -> Places:
    """Where things happen on smoothed losses."""
    level = initial_level(smooth)
    lowest = lowest_point(smooth, level)
    drop = level - float(smooth[lowest])
    return Places(
        descent=last_above(smooth, level - BEGUN * drop, lowest),
        half_descent=last_above(smooth, level - HALF * drop, lowest),
        minimum=lowest,
        settled=last_above(smooth, float(smooth[lowest]) + GIVEN_BACK * drop, lowest),
        upturn=first_above(smooth, float(smooth[lowest]) + GIVEN_BACK * drop, lowest),
        divergence=first_above(smooth, float(smooth[lowest]) + DIVERGED * drop, lowest),
        drop=drop,
    )


def initial_level(smooth: Losses) -> float:
    """The loss before the LR does anything: a median, as a first loss need not be typical."""
    return float(np.median(smooth[: head_length(len(smooth))]))


def lowest_point(smooth: Losses, level: float) -> int:
    """The lowest point of the first basin: before the loss rises again by half of a descent that is nearly the whole one.

    A loss that explodes and falls a second time (the "catapult", Lewkowycz et al. 2020, arXiv:2003.02218) is trained best
    below its first explosion if the first basin is about as deep: at least FIRST_BASIN of the deepest.
    """
    lowest = int(np.argmin(smooth))
    best = np.minimum.accumulate(smooth)
    fallen = level - best
    is_deep = fallen >= FIRST_BASIN * (level - smooth[lowest])
    is_left = smooth - best > DIVERGED * fallen
    left = np.flatnonzero(is_deep & is_left & (fallen > 0))
    return lowest if not len(left) else int(np.argmin(smooth[: left[0] + 1]))


def last_above(smooth: Losses, threshold: float, end: int) -> int:
    """The last point before `end` that is still at or above `threshold`; 0 where there is none."""
    above = np.flatnonzero(smooth[: end + 1] >= threshold)
    return int(above[-1]) if len(above) else 0


def first_above(smooth: Losses, threshold: float, begin: int) -> int | None:
    """The first point from `begin` on that is above `threshold`; None where there is none."""
    above = np.flatnonzero(smooth[begin:] > threshold)
    return begin + int(above[0]) if len(above) else None


def second_descent(smooth: Losses, places: Places) -> int | None:
    """The lowest point after the divergence, where the loss comes nearly as far down there as it had before."""
    if places.divergence is None:
        return None
    lowest = places.divergence + int(np.argmin(smooth[places.divergence :]))
    is_deep = smooth[lowest] <= smooth[places.minimum] + (1 - FIRST_BASIN) * places.drop
    return lowest if is_deep else None


def resting_place(log_lr: Losses, smooth: Losses, places: Places) -> int | None:
    """The middle of a plateau inside the descent: PLATEAU_DECADES over which less than PLATEAU_PART of it happens.

    Only between a quarter and three quarters of the descent: its slow beginning and end are no steps of their own.
    """
    level = float(smooth[places.minimum]) + places.drop
    begin = last_above(smooth, level - 0.25 * places.drop, places.minimum)
    end = last_above(smooth, level - 0.75 * places.drop, places.minimum)
    stop = begin
    for start in range(begin, end):
        while stop < end and log_lr[stop] < log_lr[start] + PLATEAU_DECADES:
            stop += 1
        if log_lr[stop] < log_lr[start] + PLATEAU_DECADES:
            return None
        if np.ptp(smooth[start : stop + 1]) < PLATEAU_PART * places.drop:
            return (start + stop) // 2
    return None


def noise_around(curve: Curve, begin: int, end: int) -> float:
    """Robust standard deviation of the raw losses around the smoothed ones between two points (1.4826 MAD)."""
    residuals = np.abs(np.subtract(curve.loss, curve.smoothed_loss))[max(0, begin) : max(end + 1, 5)]
    return SIGMA_OVER_MAD * float(np.median(residuals))


def standard_error(noise: float, num_points: int) -> float:
    """Of a smoothed value: a local quadratic at its centre weighs about 2.25 / span of its points' variance."""
    return noise * math.sqrt(2.25 / max(5.0, SMOOTHING_SPAN * num_points))
