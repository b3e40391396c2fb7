"""From the curve of a range test to base_lr, max_lr and suggested_lr, with the reason and how far to trust it. Pure.

The whole shape of the curve is used, not its steepest point: on noisy curves that point is wherever the noise put it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrtool.results import Confidence, Curve, GroupRange
from lrtool.units import format_lr

Losses = NDArray[np.float64]
Points = tuple[Sequence[float], Sequence[float]]

MIN_POINTS = 12
SMOOTHING_SPAN = 0.13
CAP_SIGMAS = 2.0
SIGNIFICANT_DROP = 4.0
ROUNDING = 1e-12  # relative: more than what smoothing's own arithmetic makes of a loss that does not change
RULE = "landmarks: geometric mean of half descent, minimum and upturn"


@dataclass(frozen=True, kw_only=True, slots=True)
class Landmarks:
    """Places on a smoothed curve, as LRs; None where the curve does not reach them.

    `drop` is how far the loss fell, `noise` the standard deviation of the raw losses around the smoothed ones.
    """

    descent: float
    half_descent: float
    minimum: float
    upturn: float | None
    divergence: float | None
    drop: float
    noise: float
    falls_from_start: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """What a range test's curves support, for each parameter group in order."""

    groups: tuple[GroupRange, ...]
    confidence: Confidence
    rule: str
    reason: str
    advice: str | None
    curve: Curve
    repeats: tuple[Curve, ...]


def suggest(curves: Sequence[Points], *, group_ratios: Sequence[float] = (1.0,)) -> Suggestion:
    """The suggestion of one or more curves (LRs, losses) over the same ramp; losses of any sign and scale.

    `group_ratios` are the groups' LRs over the largest of them. Raises ValueError for an empty curve.
    """
    if not curves or not all(len(lrs) == len(losses) > 0 for lrs, losses in curves):
        raise ValueError("a curve needs at least one point, and as many losses as LRs")
    smoothed = tuple(smoothed_curve(lrs, losses) for lrs, losses in curves)
    curve = smoothed[0] if len(smoothed) == 1 else median_curve(smoothed)
    if len(curve.lr) < MIN_POINTS:
        return _none(
            curve, smoothed, group_ratios,
            reason=f"it has {len(curve.lr)} points, and {MIN_POINTS} are needed",
            advice="start lower (--start-lr) if the loss blew up at once, or take more steps (--num-steps)",
        )  # fmt: skip
    marks = landmarks(curve)
    rounding = ROUNDING * abs(curve.smoothed_loss[0])
    is_significant = marks.drop > max(SIGNIFICANT_DROP * standard_error(marks.noise, len(curve.lr)), rounding)
    if not is_significant or marks.minimum <= curve.lr[_head(curve)]:
        return _none(curve, smoothed, group_ratios, **_why_flat(curve, marks))
    max_lr, suggested_lr, base_lr = rates(marks)
    confidence, reason, advice = judge(curve, marks)
    groups = tuple(
        GroupRange(base_lr=base_lr * ratio, max_lr=max_lr * ratio, suggested_lr=suggested_lr * ratio)
        for ratio in group_ratios
    )
    return Suggestion(
        groups=groups, confidence=confidence, rule=RULE, reason=reason, advice=advice, curve=curve, repeats=smoothed
    )


def rates(marks: Landmarks) -> tuple[float, float, float]:
    """max_lr, suggested_lr and base_lr from the landmarks.

    max_lr is the geometric mean of where descent is half done, the minimum, and the upturn (or the last LR seen): early
    and late landmarks err in opposite directions. A constant LR has to be good to the end, so it is a third of that.
    base_lr is where the descent begins (Smith 2015), at most a quarter of max_lr, at least a hundredth (both his range).
    """
    upturn = marks.upturn or marks.minimum
    max_lr = (marks.half_descent * marks.minimum * upturn) ** (1 / 3)
    return max_lr, max_lr / 3, min(max(marks.descent, max_lr / 100), max_lr / 4)


def judge(curve: Curve, marks: Landmarks) -> tuple[Confidence, str, str | None]:
    """Confidence, reason and advice: sure only of a clear descent whose start and end were both seen."""
    reason = (
        f"the loss falls by {marks.drop:.3g} ({marks.drop / max(marks.noise, 1e-300):.0f} times its noise) between "
        f"{format_lr(marks.descent)} and its minimum at {format_lr(marks.minimum)}"
    )
    if marks.falls_from_start:
        return "low", f"{reason}, but it falls from the first step on", "start lower, with --start-lr"
    if marks.upturn is None:
        return "low", f"{reason}, but it never turns up again", "go on to a larger --end-lr"
    reason = f"{reason}, and turns up at {format_lr(marks.upturn)}"
    if marks.drop < 3 * marks.noise:
        return "low", reason, "the curve is noisy: take more steps (--num-steps 400) or --repeats 3"
    if marks.drop < 10 * marks.noise or len(curve.lr) < 200:
        return "medium", reason, None
    return "high", reason, None


def smoothed_curve(lrs: Sequence[float], losses: Sequence[float]) -> Curve:
    """The curve with its losses smoothed without lag; an explosion is capped first, so that it does not leak leftwards."""
    raw = np.asarray(losses, dtype=np.float64)
    smooth = local_quadratic(capped(raw), span=max(5, round(SMOOTHING_SPAN * len(raw))))
    return Curve(
        lr=tuple(map(float, lrs)), loss=tuple(map(float, losses)), smoothed_loss=tuple(map(float, smooth))
    )  # fmt: skip


def capped(losses: Losses) -> Losses:
    """Losses more than two sigma above the initial level, cut off there: how high an explosion goes says nothing."""
    head = losses[: max(3, len(losses) // 10)]
    level = float(np.median(head))
    spread = 1.4826 * float(np.median(np.abs(head - level)))
    return np.minimum(losses, level + CAP_SIGMAS * spread)


def local_quadratic(values: Losses, *, span: int) -> Losses:
    """Local quadratic regression with tricube weights over `span` neighbours (Cleveland 1979, LOESS), equal spacing."""
    count = len(values)
    if count < 5:
        return values.copy()
    half = max(span / 2, 2.5)
    smooth = np.empty(count)
    for i in range(count):
        low, high = max(0, math.ceil(i - half)), min(count, math.floor(i + half) + 1)
        offset = np.arange(low, high) - i
        weight = (1 - (np.abs(offset) / (half + 1)) ** 3) ** 1.5
        design = np.stack([np.ones(len(offset)), offset, offset**2], axis=1) * weight[:, None]
        smooth[i] = np.linalg.lstsq(design, values[low:high] * weight, rcond=None)[0][0]
    return smooth


def median_curve(curves: Sequence[Curve]) -> Curve:
    """The median over repeats at each LR, as far as the shortest of them goes."""
    count = min(len(curve.lr) for curve in curves)
    loss = np.median([curve.loss[:count] for curve in curves], axis=0)
    return smoothed_curve(curves[0].lr[:count], list(loss))


def landmarks(curve: Curve) -> Landmarks:
    """Where descent begins (10 % done) and is half done, the minimum, and after it where 10 % and 50 % are given back."""
    smooth = np.asarray(curve.smoothed_loss)
    lowest = int(np.argmin(smooth))
    noise = noise_around(curve, lowest)
    head = _head(curve)
    level = max(float(np.median(smooth[:head])), float(smooth[0]))
    drop = level - float(smooth[lowest])
    return Landmarks(
        descent=curve.lr[_last_above(smooth, level - 0.1 * drop, lowest)],
        half_descent=curve.lr[_last_above(smooth, level - 0.5 * drop, lowest)],
        minimum=curve.lr[lowest],
        upturn=_first_above(curve, smooth[lowest] + 0.1 * drop, lowest),
        divergence=_first_above(curve, smooth[lowest] + 0.5 * drop, lowest),
        drop=drop,
        noise=noise,
        falls_from_start=_last_above(smooth, level - 0.1 * drop, lowest) < head,
    )


def noise_around(curve: Curve, end: int) -> float:
    """Robust standard deviation of the raw losses around the smoothed ones up to the minimum (1.4826 MAD)."""
    residuals = np.abs(np.subtract(curve.loss, curve.smoothed_loss))[: max(end + 1, 5)]
    return 1.4826 * float(np.median(residuals))


def standard_error(noise: float, num_points: int) -> float:
    """Of a smoothed value: a local quadratic at its centre weighs about 2.25 / span of its points' variance."""
    return noise * math.sqrt(2.25 / max(5.0, SMOOTHING_SPAN * num_points))


def _head(curve: Curve) -> int:
    """How many points show the level before anything happens."""
    return max(3, len(curve.lr) // 20)


def _last_above(smooth: Losses, threshold: float, end: int) -> int:
    """Index of the last point before `end` that is still at or above `threshold`; 0 where there is none."""
    above = np.flatnonzero(smooth[: end + 1] >= threshold)
    return int(above[-1]) if len(above) else 0


def _first_above(curve: Curve, threshold: float, begin: int) -> float | None:
    above = np.flatnonzero(np.asarray(curve.smoothed_loss[begin:]) > threshold)
    return curve.lr[begin + int(above[0])] if len(above) else None


def _why_flat(curve: Curve, marks: Landmarks) -> dict[str, str]:
    rise = curve.smoothed_loss[-1] - curve.smoothed_loss[0]
    if rise > SIGNIFICANT_DROP * marks.noise:
        return {"reason": "the loss only rises", "advice": "start at a far smaller LR, with --start-lr"}
    return {
        "reason": "the loss does not fall by more than its noise",
        "advice": "go on to a larger --end-lr, take more steps (--num-steps 400), or check that the model learns at all",
    }


def _none(
    curve: Curve, repeats: tuple[Curve, ...], group_ratios: Sequence[float], *, reason: str, advice: str
) -> Suggestion:
    empty = GroupRange(base_lr=None, max_lr=None, suggested_lr=None)
    return Suggestion(
        groups=tuple(empty for _ in group_ratios),
        confidence="none",
        rule=RULE,
        reason=reason,
        advice=advice,
        curve=curve,
        repeats=repeats,
    )
