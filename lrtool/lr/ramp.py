"""The ramp of a range test: its learning rates, and when its losses say to stop. Pure."""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrtool.config import RangeTestSettings
from lrtool.lr.curve.landmarks import find_places
from lrtool.lr.curve.smoothing import smoothed
from lrtool.results import Stopped
from lrtool.units import format_lr

STEPS_PER_DECADE = 45
FEWEST_STEPS = 90
MOST_STEPS = 360
"""Length decides how good a suggestion is: 100 noisy steps are not enough, and more than this rarely pays."""
LEVEL_STEPS = 5
WATCHED_PART = 0.25
RISE_OVER_DROP = 3.0
RISE_OVER_NOISE = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """Why a ramp ended: its kind, the sentence for it, and how many of its points count."""

    kind: Stopped
    reason: str
    num_points: int

    @property
    def is_explosion(self) -> bool:
        """Whether it was the loss that ended the ramp."""
        return self.kind in ("diverged", "non-finite")


def ramp_lrs(settings: RangeTestSettings) -> list[float]:
    """The LR of every step: geometric from start_lr to end_lr, both included (Smith 2015, arXiv:1506.01186), or linear."""
    start, end, last = settings.start_lr, settings.end_lr, num_ramp_steps(settings) - 1
    if settings.mode == "linear":
        return [start + (end - start) * i / last for i in range(last + 1)]
    return [start ** (1 - i / last) * end ** (i / last) for i in range(last + 1)]  # end / start may overflow


def num_ramp_steps(settings: RangeTestSettings) -> int:
    """Steps of a ramp: as many as were asked for; with "auto" STEPS_PER_DECADE, within its budget."""
    if settings.num_steps != "auto":
        return settings.num_steps
    if settings.mode == "linear":
        return MOST_STEPS
    return min(max(steps_between(settings.start_lr, settings.end_lr), FEWEST_STEPS), MOST_STEPS)


def steps_between(start_lr: float, end_lr: float) -> int:
    """Steps of an automatic ramp from one LR to another; 0 where the first is not the smaller one."""
    return max(0, round(STEPS_PER_DECADE * (math.log10(end_lr) - math.log10(start_lr))))


class DivergenceWatch:
    """Reads a ramp's losses as they come and says when to stop; it never stops on a spike, nor by the loss's sign.

    Diverged: the median of the last quarter of the ramp stands above the initial level by more than three times what
    the loss had fallen and by more than ten times its noise (the median step-to-step change). Shorter bursts are let
    pass: training with large steps often throws the loss up and then finds a flatter place where it falls further
    (the "catapult", Lewkowycz et al. 2020, arXiv:2003.02218).
    """

    def __init__(self, lrs: list[float], *, done: int = 0) -> None:
        self._done = done
        self.losses: list[float] = []
        self.best = math.inf
        self._lrs = lrs
        self._changes: list[float] = []
        self._recent: list[float] = []
        self._level = math.nan
        self._window = max(3, round(WATCHED_PART * len(lrs)))

    def feed(self, losses: Iterable[float]) -> Stop | None:
        """Take the next losses; the first that ends the ramp gives the Stop, and what follows it is dropped."""
        for loss in losses:
            if not math.isfinite(loss):
                at = self._where(len(self.losses))
                return Stop(kind="non-finite", reason=f"the loss is {loss} at {at}", num_points=len(self.losses))
            if self._take(loss):
                at = self._where(len(self.losses) - 1)
                return Stop(kind="diverged", reason=f"the loss diverged at {at}", num_points=len(self.losses))
        return None

    def _take(self, loss: float) -> bool:
        """Take one loss; true where it shows divergence."""
        taken = self.losses
        if taken:
            insort(self._changes, abs(loss - taken[-1]))
        taken.append(loss)
        insort(self._recent, loss)
        if len(taken) < self._window:
            return False
        if len(taken) > self._window:
            del self._recent[bisect_left(self._recent, taken[-self._window - 1])]
        recent = self._recent[self._window // 2]
        self.best = min(self.best, recent)
        if len(taken) <= max(LEVEL_STEPS, self._window):
            self._level = sorted(taken)[len(taken) // 2]
            return False
        rise = recent - self._level
        if rise <= RISE_OVER_DROP * (self._level - self.best):
            return False
        return rise > RISE_OVER_NOISE * self._changes[len(self._changes) // 2]

    def _where(self, index: int) -> str:
        return f"step {self._done + index + 1} (LR {format_lr(self._lrs[index])})"


DEFAULT = RangeTestSettings()
LOWER_BY = 1e-4
HIGHER_BY = 1e2
STEPS_BEYOND = 40


def lower_start(settings: RangeTestSettings, lrs: Sequence[float], losses: Sequence[float]) -> RangeTestSettings | None:
    """The ramp to walk instead of one that began too high and ended early; None where it did not, or the ends are fixed.

    It goes from four decades lower to where the first one ended, on the steps that the first one left of the budget.
    """
    num_left = MOST_STEPS - len(losses)
    if not is_adaptive(settings) or settings.start_lr != DEFAULT.start_lr or num_left < FEWEST_STEPS:
        return None
    if not starts_too_high(losses):
        return None
    start, end = settings.start_lr * LOWER_BY, max(lrs[-1], settings.start_lr * 10)
    return replace(settings, start_lr=start, end_lr=end, num_steps=min(steps_between(start, end), num_left))


def higher_end(settings: RangeTestSettings, losses: Sequence[float]) -> list[float]:
    """LRs to go on with, two decades up, where the loss has not turned up by the ramp's end; none where it has."""
    if not is_adaptive(settings) or settings.end_lr != DEFAULT.end_lr or has_turned_up(losses):
        return []
    return [settings.end_lr * HIGHER_BY ** (i / STEPS_BEYOND) for i in range(1, STEPS_BEYOND + 1)]


def is_adaptive(settings: RangeTestSettings) -> bool:
    """Whether the ramp's ends may be moved at all: those that were given stay."""
    return settings.num_steps == "auto" and settings.mode == "exp"


def starts_too_high(losses: Sequence[float]) -> bool:
    """Whether half of the descent is over within the ramp's first decade, or there is none."""
    smooth = smoothed(np.asarray(losses, dtype=np.float64))
    return find_places(smooth).half_descent < STEPS_PER_DECADE


def has_turned_up(losses: Sequence[float]) -> bool:
    """Whether the loss rises again after its minimum."""
    return find_places(smoothed(np.asarray(losses, dtype=np.float64))).upturn is not None
