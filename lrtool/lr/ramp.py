"""The ramp of a range test: its learning rates, and when its losses say to stop. Pure."""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass

from lrtool.config import RangeTestSettings
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

    def __init__(self, lrs: list[float]) -> None:
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
        return f"step {index + 1} (LR {format_lr(self._lrs[index])})"
