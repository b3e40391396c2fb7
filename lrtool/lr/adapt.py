"""Ends of an automatic ramp that the curve asks for: a lower start, a higher end. Pure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lrtool.config import RangeTestSettings
from lrtool.lr.landmarks import find_places
from lrtool.lr.ramp import FEWEST_STEPS, MOST_STEPS, steps_between
from lrtool.lr.smoothing import head_length, smoothed

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
    """Whether half of the descent is over within twice the head of the curve, or the loss rises from its first step on."""
    smooth = smoothed(np.asarray(losses, dtype=np.float64))
    places = find_places(smooth)
    return places.half_descent < 2 * head_length(len(smooth))


def has_turned_up(losses: Sequence[float]) -> bool:
    """Whether the loss rises again after its minimum."""
    return find_places(smoothed(np.asarray(losses, dtype=np.float64))).upturn is not None
