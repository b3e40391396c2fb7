"""From the curves of a range test to base_lr, max_lr and suggested_lr, with the reason and how far to trust it. Pure.

The whole shape of the curve is used, not its steepest point: on noisy curves that point is wherever the noise put it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrtool.lr.curve.cautions import are_alike, capped, cautions, ordered
from lrtool.lr.curve.confidence import Intervals, intervals, judge
from lrtool.lr.curve.landmarks import find_places, landmarks
from lrtool.lr.curve.rates import RULE, Rates
from lrtool.lr.curve.rates import rates as rates_at
from lrtool.lr.curve.smoothing import median_curve, smoothed_curve
from lrtool.lr.curve.support import Ended, unsupported
from lrtool.results import Confidence, Curve, GroupRange, Interval, Landmarks

Points = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """What a range test's curves support, for each parameter group in order.

    `rates` and `spread` are those of the group with the largest LR; with `landmarks` they are None without a suggestion.
    """

    groups: tuple[GroupRange, ...]
    confidence: Confidence
    rule: str
    reason: str
    advice: str | None
    curve: Curve
    repeats: tuple[Curve, ...]
    rates: Rates | None = None
    landmarks: Landmarks | None = None
    spread: Intervals | None = None


def suggest(
    curves: Sequence[Points],
    *,
    group_ratios: Sequence[float] = (1.0,),
    ended: Ended | None = None,
) -> Suggestion:
    """The suggestion of one or more curves (LRs, losses) over the same ramp, which `ended` so; losses of any sign and scale.

    `group_ratios` are the groups' LRs over the largest of them. Raises ValueError for an empty curve.
    """
    if not curves or not all(len(lrs) == len(losses) > 0 for lrs, losses in curves):
        raise ValueError("a curve needs at least one point, and as many losses as LRs")
    repeats = tuple(smoothed_curve(lrs, losses) for lrs, losses in curves)
    curve = repeats[0] if len(repeats) == 1 else median_curve(repeats)
    ended = ended or Ended()
    reason = unsupported(curve, ended)
    if reason is not None:
        if ended.stopped not in ("overridden", "loader-ended") and are_alike(curve.loss, drop=0.0):
            caution = ordered(ended.taken)
            reason = f"{reason[0]}; {caution.reason}", caution.advice or reason[1]
        return none(curve, repeats, group_ratios, reason=reason)
    marks = landmarks(curve)
    found = rates_at(np.asarray(curve.lr), find_places(np.asarray(curve.smoothed_loss)))
    spread = intervals(repeats, found)
    found_cautions = list(cautions(curve, marks, ended.taken))
    confidence, why, advice = capped(*judge(curve, marks, spread, ended), found_cautions)
    return Suggestion(
        groups=in_ratio(found, group_ratios),
        confidence=confidence,
        rule=RULE,
        reason=why,
        advice=advice,
        curve=curve,
        repeats=repeats,
        rates=found,
        landmarks=marks,
        spread=spread,
    )


def in_ratio(found: Rates, ratios: Sequence[float]) -> tuple[GroupRange, ...]:
    """The LRs of every parameter group; none for one whose ratio is 0, which keeps out."""
    return tuple(
        GroupRange(base_lr=found.base_lr * ratio, max_lr=found.max_lr * ratio, suggested_lr=found.suggested_lr * ratio)
        if ratio > 0
        else GroupRange(base_lr=None, max_lr=None, suggested_lr=None)
        for ratio in ratios
    )


def none(
    curve: Curve, repeats: tuple[Curve, ...], group_ratios: Sequence[float], *, reason: tuple[str, str]
) -> Suggestion:
    """No suggestion, said as such; `reason` comes with what to do about it."""
    empty = GroupRange(base_lr=None, max_lr=None, suggested_lr=None)
    return Suggestion(
        groups=tuple(empty for _ in group_ratios),
        confidence="none",
        rule=RULE,
        reason=reason[0],
        advice=reason[1],
        curve=curve,
        repeats=repeats,
    )


def none_of(suggestion: Suggestion, *, reason: str, advice: str) -> Suggestion:
    """The suggestion withdrawn, for a reason that the curve itself did not show."""
    empty = GroupRange(base_lr=None, max_lr=None, suggested_lr=None)
    return replace(
        suggestion,
        groups=tuple(empty for _ in suggestion.groups),
        confidence="none",
        reason=reason,
        advice=advice,
        rates=None,
        spread=None,
    )


HALF_SPACING = 10**0.25
"""Runs at several LRs stand half a decade apart: which of two neighbours an LR belongs to is known to half of that."""


def moved_to(suggestion: Suggestion, found: Rates, *, rule: str, reason: str) -> Suggestion:
    """The suggestion with LRs that runs half a decade apart stand for, those of all groups in the ratio they had."""
    largest = max(group.max_lr or 0.0 for group in suggestion.groups)
    return replace(
        suggestion,
        groups=in_ratio(found, [(group.max_lr or 0.0) / largest for group in suggestion.groups]),
        rule=rule,
        reason=reason,
        rates=found,
        spread=Intervals(
            base_lr=_around(found.base_lr), max_lr=_around(found.max_lr), suggested_lr=_around(found.suggested_lr)
        ),
    )


def _around(lr: float) -> Interval:
    return Interval(low=lr / HALF_SPACING, high=lr * HALF_SPACING)
