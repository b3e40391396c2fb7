"""How far the curve's own noise moves a suggestion: a bootstrap over residuals and repeats. Pure, and the same each time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrtool.lr.landmarks import find_places
from lrtool.lr.rates import Rates, rates
from lrtool.lr.smoothing import Losses, smooth_columns, tamed
from lrtool.results import Curve, Interval

SAMPLES = 100
TAILS = (0.05, 0.95)


@dataclass(frozen=True, kw_only=True, slots=True)
class Intervals:
    """90 % intervals of the three LRs."""

    base_lr: Interval
    max_lr: Interval
    suggested_lr: Interval


def intervals(curves: Sequence[Curve], found: Rates) -> Intervals:
    """The spread of the rule's LRs over curves as noisy as the ones measured.

    Each sample draws as many repeats as there are, with replacement, and to each smoothed curve its own residuals with
    random signs (the wild bootstrap, Wu 1986: noise that grows with the LR keeps growing). An interval holds `found`.
    """
    lrs = np.asarray(min((curve.lr for curve in curves), key=len))
    draws = [rates(lrs, find_places(smooth)) for smooth in samples(curves, len(lrs))]

    def interval(name: str) -> Interval:
        value = getattr(found, name)
        low, high = np.quantile([getattr(draw, name) for draw in draws], TAILS)
        return Interval(low=min(float(low), value), high=max(float(high), value))

    return Intervals(base_lr=interval("base_lr"), max_lr=interval("max_lr"), suggested_lr=interval("suggested_lr"))


def samples(curves: Sequence[Curve], count: int) -> Losses:
    """SAMPLES smoothed curves of `count` points, a row each: the median of resampled repeats, smoothed."""
    generator = np.random.default_rng(0)
    measured = [tamed(np.asarray(curve.loss[:count])) for curve in curves]
    smooth = np.array([level + smooth_columns(relative) for level, relative in measured])
    residual = np.array([level + relative for level, relative in measured]) - smooth
    picked = generator.integers(len(curves), size=(SAMPLES, len(curves)))
    signs = generator.choice((-1.0, 1.0), size=(SAMPLES, len(curves), count))
    drawn = np.median(smooth[picked] + residual[picked] * signs, axis=1)
    return smooth_columns(drawn.T).T
