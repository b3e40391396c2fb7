"""What other learning-rate finders would suggest on the same raw curve: our own implementations of their published rules.

Smoothing, stopping and skipping belong to a rule and are done as the finder does them, its quirks included, in its precision:
single where it calculates with tensors, which decides where the losses of neighbouring steps are nearly equal. Pure.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lrtool.results import RangeTest, RulePick

Singles = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class RawCurve:
    """The LRs of a ramp and the raw losses of its steps, of equal length, of a ramp planned to take `num_planned` steps."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    num_planned: int


class NoSuggestion(Exception):
    """The finder raises, or returns None, on this curve; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A finder's rule: `pick` returns the LR or raises NoSuggestion; `version` is the release it was read from."""

    finder: str
    version: str
    name: str
    pick: Callable[[RawCurve], float]


def compared(result: RangeTest, finders: Sequence[str], *, num_planned: int) -> RangeTest:
    """The result, with what the rules of these finders, or of "all", suggest on its curve, a ramp of `num_planned` steps."""
    chosen = [rule for rule in RULES if "all" in finders or rule.finder.lower() in finders]
    most = max(num_planned, len(result.curve.lr))
    curve = RawCurve(lrs=result.curve.lr, losses=result.curve.loss, num_planned=most)
    return replace(result, rules=tuple(_pick(rule, curve) for rule in chosen))


def fastai_valley(curve: RawCurve) -> float:
    """The LR half-way along the longest decreasing subsequence of the smoothed losses (fastai's default)."""
    lrs, losses = _fastai_part(curve, needed=1)
    start, end = _longest_valley(losses)
    third = (end - start) / 3
    return float(lrs[start + int(third) + int(third / 2)])


def fastai_slide(curve: RawCurve, *, lr_diff: int = 15, threshold: float = 0.005) -> float:
    """From the right, the first LR whose slope differs by at most `threshold` from that `lr_diff` steps further right."""
    lrs, losses = _fastai_part(curve, needed=lr_diff + 1)
    slopes = np.gradient(losses)
    right, left = -1, -1 - lr_diff
    found = lrs[left]
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > threshold:
        found = lrs[left]
        right, left = right - 1, left - 1
    return float(found)


def fastai_minimum(curve: RawCurve) -> float:
    """A tenth of the LR where the smoothed loss is lowest."""
    lrs, losses = _fastai_part(curve, needed=1)
    return float(lrs[int(losses.argmin())]) / 10


def fastai_steep(curve: RawCurve) -> float:
    """The LR where the smoothed loss falls fastest over log LR."""
    lrs, losses = _fastai_part(curve, needed=2)
    return float(lrs[int((np.diff(losses) / np.diff(np.log(lrs))).argmin())])


def lightning_steepest(curve: RawCurve) -> float:
    """The LR where the smoothed loss falls fastest over the LR itself, which favours tiny ones; without first 10 and last."""
    smooth = _lightning_smoothed(curve.losses)
    losses, lrs = (np.asarray(values[: len(smooth)], np.float32)[10:-1] for values in (smooth, curve.lrs))
    finite = np.isfinite(losses)
    if int(finite.sum()) < 2:
        raise NoSuggestion(_too_few(12, curve, num_used=len(smooth)))
    with np.errstate(all="ignore"):
        slopes = np.gradient(losses[finite], lrs[finite])
    return curve.lrs[10 + int(np.flatnonzero(finite)[_argmin(slopes)])]


def torch_lr_finder_steepest(curve: RawCurve) -> float:
    """The LR where the smoothed loss falls most from step to step; without the first 10 and the last 5 steps."""
    smooth = _ema_from_first_loss(curve.losses)
    if len(smooth) < 17:
        raise NoSuggestion(_too_few(17, curve, num_used=len(smooth)))
    return curve.lrs[10 + _argmin(np.gradient(np.asarray(smooth[10:-5])))]


def ignite_steepest(curve: RawCurve) -> float:
    """The LR where the smoothed loss falls most from step to step, up to its minimum."""
    smooth = np.asarray(_ema_from_first_loss(curve.losses), np.float32)
    falling = smooth[: _argmin(smooth) + 1]
    if len(falling) < 3:
        raise NoSuggestion("the smoothed loss is lowest at the start")
    slopes = (0.5 * (falling[2:] - falling[:-2])).astype(np.float32)
    return curve.lrs[_argmin(slopes) + 1]


RULES = (
    Rule(finder="fastai", version="2.8.12", name="valley", pick=fastai_valley),
    Rule(finder="fastai", version="2.8.12", name="slide", pick=fastai_slide),
    Rule(finder="fastai", version="2.8.12", name="minimum", pick=fastai_minimum),
    Rule(finder="fastai", version="2.8.12", name="steep", pick=fastai_steep),
    Rule(finder="Lightning", version="2.6.6", name="steepest", pick=lightning_steepest),
    Rule(finder="torch-lr-finder", version="0.2.2", name="steepest", pick=torch_lr_finder_steepest),
    Rule(finder="Ignite", version="0.5.5", name="steepest", pick=ignite_steepest),
)
"""In the order of the table; the four of fastai differ in the rule alone."""


def _pick(rule: Rule, curve: RawCurve) -> RulePick:
    lr, why_none = None, None
    try:
        lr = rule.pick(curve)
    except NoSuggestion as none:
        why_none = str(none)
    return RulePick(finder=rule.finder, version=rule.version, rule=rule.name, lr=lr, why_none=why_none)


def _fastai_part(curve: RawCurve, *, needed: int) -> tuple[Singles, Singles]:
    """LRs and smoothed losses that fastai's rules see: without the first tenth of the ramp and the last 5 steps."""
    smooth = _fastai_smoothed(curve.losses)
    part = slice(curve.num_planned // 10, -5)
    lrs, losses = np.asarray(curve.lrs[: len(smooth)], np.float32)[part], smooth[part]
    nans = np.flatnonzero(np.isnan(losses))
    count = int(nans[0]) if len(nans) else len(losses)
    if count < needed:
        raise NoSuggestion(_too_few(curve.num_planned // 10 + 5 + needed, curve, num_used=len(smooth)))
    return lrs[:count], losses[:count]


def _fastai_smoothed(losses: Sequence[float], *, beta: float = 0.98, stop_over_best: float = 4.0) -> Singles:
    """fastai's AvgSmoothLoss, a debiased moving average in single precision, up to where its LRFinder stops."""
    one = np.float32(1)
    average, best = np.float32(0), np.float32(np.inf)
    smooth: list[np.float32] = []
    for count, loss in enumerate(np.asarray(losses, np.float32), 1):
        average = average - (average - loss) * (one - np.float32(beta))
        smooth.append(average / np.float32(1 - beta**count))
        best = min(best, smooth[-1])
        if smooth[-1] > np.float32(stop_over_best) * best:
            break
    return np.asarray(smooth, np.float32)


def _lightning_smoothed(losses: Sequence[float], *, beta: float = 0.98, stop_over_best: float = 4.0) -> list[float]:
    """Lightning's moving average up to where it stops; debiased as if one more step had been taken, so it starts low."""
    average, best = 0.0, 0.0
    smooth: list[float] = []
    for step, loss in enumerate(losses, 1):
        average = beta * average + (1 - beta) * loss
        smooth.append(average / (1 - beta ** (step + 1)))
        if step > 1 and smooth[-1] > stop_over_best * best:
            break
        if smooth[-1] < best or step == 1:
            best = smooth[-1]
    return smooth


def _ema_from_first_loss(losses: Sequence[float], *, weight: float = 0.05, stop_over_best: float = 5.0) -> list[float]:
    """The moving average of torch-lr-finder and Ignite, started at the first loss, up to where they stop; never at NaN."""
    smooth: list[float] = []
    best = math.inf
    for loss in losses:
        smooth.append(weight * loss + (1 - weight) * smooth[-1] if smooth else loss)
        best = smooth[0] if len(smooth) == 1 else min(best, smooth[-1])
        if smooth[-1] > stop_over_best * best:
            break
    return smooth


def _longest_valley(losses: Singles) -> tuple[int, int]:
    """Start (its length before the end, so that it may be -1) and end index of the longest decreasing subsequence."""
    lengths = np.ones(len(losses), np.int64)
    start = end = 0
    for i in range(1, len(losses)):
        before = lengths[:i][losses[:i] > losses[i]]
        lengths[i] = 1 + (int(before.max()) if len(before) else 0)
        if lengths[i] > lengths[end]:
            start, end = i - int(lengths[i]), i
    return start, end


def _argmin(values: NDArray[np.floating]) -> int:
    """The first NaN, else the first of the smallest: as numpy and torch do it."""
    return int(np.argmin(values))


def _too_few(needed: int, curve: RawCurve, *, num_used: int) -> str:
    if num_used < len(curve.losses):
        negative = ", as the loss is not positive" if min(curve.losses[:num_used]) <= 0 else ""
        steps = "step" if num_used == 1 else "steps"
        return f"it stops after {num_used} {steps}{negative}, and needs {needed}"
    return f"it needs {needed} steps, and the curve has {num_used}"
