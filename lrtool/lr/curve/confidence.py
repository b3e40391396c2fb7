"""How far to trust a suggestion, and why: from the landmarks, the noise and the intervals. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrtool.lr.curve.landmarks import find_places
from lrtool.lr.curve.rates import Rates, rates
from lrtool.lr.curve.smoothing import Losses, smooth_columns, tamed
from lrtool.lr.curve.support import CLEAR_DROP, VISIBLE_DROP, Ended, unseen
from lrtool.results import Confidence, Curve, Interval, Landmarks
from lrtool.units import format_lr

NARROW_DECADES = 0.3
WIDE_DECADES = 0.7
ENOUGH_POINTS_PER_DECADE = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Intervals:
    """90 % intervals of the three LRs."""

    base_lr: Interval
    max_lr: Interval
    suggested_lr: Interval


def judge(curve: Curve, marks: Landmarks, spread: Intervals, ended: Ended) -> tuple[Confidence, str, str | None]:
    """Confidence, reason and advice: sure only of one clear descent whose start and end were both seen."""
    reason = fall(marks)
    doubt = unseen(marks, curve, ended) or two_steps(marks)
    if doubt is not None:
        return "low", f"{reason}, but {doubt[0]}", doubt[1]
    reason = f"{reason}, and turns up at {format_lr(marks.upturn or marks.minimum)}"
    clarity, width = marks.drop / max(marks.noise, marks.noise_at_minimum, 1e-300), decades(spread.max_lr)
    if clarity < VISIBLE_DROP or width > WIDE_DECADES:
        return "low", reason, "the curve is noisy: take more steps, --repeats 3, or --confirm"
    if clarity < CLEAR_DROP or width > NARROW_DECADES or points_per_decade(curve) < ENOUGH_POINTS_PER_DECADE:
        return "medium", reason, None
    return "high", reason, None


def fall(marks: Landmarks) -> str:
    """How far the loss falls, and where."""
    times = marks.drop / max(marks.noise, 1e-300)
    clear = "" if times > 1e4 else f" ({times:.0f} times its noise)"
    between = f"between {format_lr(marks.descent)} and its minimum at {format_lr(marks.minimum)}"
    return f"the loss falls by {marks.drop:.3g}{clear} {between}"


def two_steps(marks: Landmarks) -> tuple[str, str] | None:
    """A curve with more than one descent, and what to do about it."""
    if marks.second_descent is not None:
        where = format_lr(marks.second_descent)
        return f"it explodes and falls again, to {where}: the first descent counts", "try both, with --confirm"
    if marks.plateau is not None:
        return (
            f"it falls in two steps, with a plateau at {format_lr(marks.plateau)}",
            "try both sides of it, with --confirm",
        )
    return None


def decades(interval: Interval) -> float:
    """The width of an interval of LRs, in powers of ten."""
    return math.log10(interval.high / interval.low)


def points_per_decade(curve: Curve) -> float:
    """How densely the ramp was walked: the length of training that a suggestion rests on."""
    return len(curve.lr) / max(math.log10(curve.lr[-1] / curve.lr[0]), 1e-9)


SAMPLES = 100
TAILS = (0.05, 0.95)


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
