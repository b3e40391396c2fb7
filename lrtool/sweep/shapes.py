"""The shapes that a sweep's settings give one schedule: every combination of what it looks at, and of nothing else. Pure."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from lrtool.config import MemSweepSettings
from lrtool.results.schedules import KNOWN_TO, values_of

PLAIN: Mapping[str, Any] = {"mode": "triangular", "gamma": 1.0, "scale_mode": "cycle"}


def shapes(settings: MemSweepSettings, schedule: str) -> Iterator[dict[str, Any]]:
    """Fields of a condition, for each of its forms, LRs, momenta and beginnings."""
    known = KNOWN_TO[schedule]
    forms = _forms(settings) if "mode" in known else iter([PLAIN])
    lrs = _lrs(settings, schedule)
    momenta = list(_momenta(settings)) if "cycle_momentum" in known else [{}]
    begins = settings.last_epoch if "last_epoch" in known else (-1,)
    for form, (low, high), momentum, begin in product(forms, lrs, momenta, begins):
        yield {**form, "base_lr": low, "max_lr": high, **momentum, "last_epoch": begin}


def _forms(settings: MemSweepSettings) -> Iterator[Mapping[str, Any]]:
    """torch looks at scale_mode with a scale_fn only, at gamma in one mode only, and at no mode with a scale_fn."""
    for scale_fn, scale_mode in product(settings.scale_fn, settings.scale_mode or ("cycle",)):
        yield {**PLAIN, "scale_fn": scale_fn, "scale_mode": scale_mode}
    for mode in settings.mode if not settings.scale_fn else ():
        for gamma in settings.gamma if mode == "exp_range" else settings.gamma[:1]:
            yield {**PLAIN, "mode": mode, "gamma": gamma}


def _lrs(settings: MemSweepSettings, schedule: str) -> list[tuple[Any, Any]]:
    """The ends of each cycle; of a constant LR the upper one. What does not vary is of the whole sweep, not of a condition."""
    low, high = values_of(settings.base_lr), values_of(settings.max_lr)
    if schedule == "own" or (len(low) <= 1 and len(high) <= 1):
        return [(None, None)]
    return [(low[0], each) for each in high] if schedule == "constant" else list(product(low, high))


def _momenta(settings: MemSweepSettings) -> Iterator[dict[str, Any]]:
    low, high = values_of(settings.base_momentum), values_of(settings.max_momentum)
    has_ends = bool(low) or bool(high)
    for cycles in settings.cycle_momentum or (True if has_ends else None,):
        ends = product(low or (None,), high or (None,)) if cycles else [(None, None)]
        for base, top in ends:
            yield {"cycle_momentum": cycles, "base_momentum": base, "max_momentum": top}
