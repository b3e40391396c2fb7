"""What a curve must have shown to support a suggestion at all, and what to do where it has not. Pure."""

import math
from dataclasses import dataclass, field

from lrtool.lr.curve.cautions import Circumstances
from lrtool.lr.curve.landmarks import landmarks, standard_error
from lrtool.lr.curve.smoothing import head_length
from lrtool.results import Curve, Landmarks, Stopped
from lrtool.units import count_of, format_lr

MIN_POINTS = 12
SIGNIFICANT_DROP = 4.0
VISIBLE_DROP = 3.0
CLEAR_DROP = 10.0
ROUNDING = 1e-12  # relative: more than what smoothing's own arithmetic makes of a loss that does not change
SCATTER_OF_MEDIAN = 1.25
"""Of a median's standard error over that of a mean, for many normally distributed values: sqrt(pi / 2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How the ramps of a curve ended, the sentence for it, how many they were and how taken, and whether runs follow."""

    stopped: Stopped = "end"
    reason: str = "the ramp reached its end"
    num_repeats: int = 1
    is_confirmed: bool = False
    taken: Circumstances = field(default_factory=Circumstances)


def unsupported(curve: Curve, ended: Ended) -> tuple[str, str] | None:
    """Why a curve supports no suggestion, and what to do about it; None where it supports one.

    Noise matters less where the suggestion is but the centre around which confirming runs look for a better one.
    """
    if ended.stopped == "overridden":
        return ended.reason, "take the schedule out of step(), and hand over the optimizer that takes the step"
    count = len(curve.lr)
    if count < MIN_POINTS:
        advice = "start lower (--start-lr) if the loss blew up at once, or take more steps (--num-steps)"
        return f"it has {count_of(count, 'point')}, and {MIN_POINTS} are needed", _advice(ended, count, advice)
    marks = landmarks(curve)
    return _cut_short(marks, ended, count) or _no_descent(curve, marks, ended) or _hidden_by_noise(marks, ended)


def _no_descent(curve: Curve, marks: Landmarks, ended: Ended) -> tuple[str, str] | None:
    count, smooth = len(curve.lr), curve.smoothed_loss
    rounding = ROUNDING * abs(smooth[0])
    is_significant = marks.drop > max(SIGNIFICANT_DROP * standard_error(marks.noise, count), rounding)
    if is_significant and marks.minimum > curve.lr[head_length(count)]:
        return None
    if smooth[-1] - smooth[0] > SIGNIFICANT_DROP * marks.noise:
        return "the loss only rises", _advice(ended, count, "start at a far smaller LR, with --start-lr")
    further = "go on to a larger --end-lr, " if ended.stopped == "end" else "start lower, with --start-lr, "
    advice = f"{further}take more steps (--num-steps 800), or check that the model learns at all"
    return "the loss does not fall by more than its noise", _advice(ended, count, advice)


def _cut_short(marks: Landmarks, ended: Ended, count: int) -> tuple[str, str] | None:
    """A loader that ended before the whole curve was seen: what lies beyond is not known to be bad."""
    is_whole = marks.divergence is not None and marks.drop >= CLEAR_DROP * marks.noise
    if ended.stopped != "loader-ended" or is_whole:
        return None
    seen = "before the loss turned up" if marks.upturn is None else "before the loss diverged"
    return f"{ended.reason}: the ramp ended {seen}", _advice(ended, count, "")


def _hidden_by_noise(marks: Landmarks, ended: Ended) -> tuple[str, str] | None:
    if ended.is_confirmed or marks.drop >= VISIBLE_DROP * marks.noise:
        return None
    times = marks.drop / marks.noise
    scatter = SCATTER_OF_MEDIAN if ended.num_repeats == 1 else 1.0
    repeats = math.ceil(ended.num_repeats * (scatter * VISIBLE_DROP / times) ** 2)
    reason = f"the loss falls by only {times:.1f} times its noise, which hides where"
    return reason, f"larger batches, the median of more ramps (--repeats {max(3, repeats)}), or --confirm"


def _advice(ended: Ended, count: int, otherwise: str) -> str:
    """What to do, as far as the way the ramp ended says so."""
    if ended.stopped == "loader-ended":
        shorter = f", or a ramp that it lasts for: --num-steps {count}" if count >= MIN_POINTS else ""
        return f"give the DataLoader or list itself, not iter(...) or a generator{shorter}"
    if ended.stopped == "interrupted":
        return "let the ramp run to its end"
    return "mend what ended the ramp first" if ended.stopped == "failed" else otherwise


def unseen(marks: Landmarks, curve: Curve, ended: Ended) -> tuple[str, str] | None:
    """What the ramp did not reach, and what to do about it."""
    if marks.falls_from_start:
        return "it falls from the first step on", "start lower, with --start-lr"
    if marks.upturn is not None:
        return None
    if ended.stopped in ("interrupted", "failed"):
        return "it had not turned up when the ramp ended", _advice(ended, len(curve.lr), "")
    if marks.settled is not None and marks.settled < curve.lr[-1] / SETTLED_OVER_END:
        where = f"it stays down from {format_lr(marks.settled)} to the ramp's end"
        return f"{where}: nothing shows how large is too large", "try LRs around it, with --confirm"
    return "it never turns up again", "go on to a larger --end-lr"


SETTLED_OVER_END = 10.0
"""A loss that has been down for a decade does not fall on: a larger end of the ramp would show more of the same."""
