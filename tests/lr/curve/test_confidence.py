"""Intervals: as wide as the noise makes them, and around what was found."""

import math

import pytest

from lrtool.lr.curve.confidence import Intervals, decades
from lrtool.lr.curve.suggest import suggest
from lrtool.results import Interval
from tests.lr.curve.test_suggest import curve


def spread(*, sigma: float, repeats: int = 1, seed: int = 0) -> Intervals:
    found = suggest([curve(sigma=sigma, seed=seed + i) for i in range(repeats)]).spread
    assert found is not None
    return found


def width(*, sigma: float, repeats: int = 1) -> float:
    """In decades, the mean of a few curves: a single one can be lucky."""
    return sum(decades(spread(sigma=sigma, repeats=repeats, seed=seed).max_lr) for seed in range(0, 40, 5)) / 8


def test_noise_widens_the_interval() -> None:
    widths = [width(sigma=sigma) for sigma in (0.001, 0.02, 0.1)]

    assert widths == sorted(widths)
    assert widths[0] < 0.05 < widths[2]


def test_repeats_narrow_it() -> None:
    assert width(sigma=0.1, repeats=5) < width(sigma=0.1)


@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_it_holds_what_was_suggested(sigma: float) -> None:
    found = suggest([curve(sigma=sigma)])
    (group,) = found.groups
    assert found.spread is not None
    for name in ("base_lr", "max_lr", "suggested_lr"):
        interval: Interval = getattr(found.spread, name)
        assert interval.low <= getattr(group, name) <= interval.high


def test_it_is_the_same_each_time() -> None:
    assert spread(sigma=0.05) == spread(sigma=0.05)


def test_decades() -> None:
    assert math.isclose(decades(Interval(low=0.001, high=0.1)), 2.0)
