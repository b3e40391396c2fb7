"""Landmarks of curves drawn by hand: half a decade a point, losses in round numbers."""

import numpy as np
import pytest

from lrtool.lr.curve.landmarks import find_places, landmarks, resting_place, second_descent
from lrtool.lr.curve.smoothing import Losses
from lrtool.results import Curve

FLAT = [10.0] * 20
DESCENT = [9.5, 8.9, 7.0, 5.1, 4.9, 2.0, 0.5]
BOTTOM = [0.0]
RISE = [0.5, 1.1, 3.0, 5.1, 9.0]


def places_of(losses: list[float]) -> dict[str, object]:
    found = find_places(np.array(losses))
    return {name: getattr(found, name) for name in ("descent", "half_descent", "minimum", "upturn", "divergence")}


def curve(losses: list[float]) -> Curve:
    lrs = tuple(1e-6 * 10 ** (i / 2) for i in range(len(losses)))
    return Curve(lr=lrs, loss=tuple(losses), smoothed_loss=tuple(losses))


def test_every_landmark_is_where_the_hand_puts_it() -> None:
    """Level 10, minimum 0: begun below 9, half below 5, risen above 1, diverged above 5."""
    assert places_of([*FLAT, *DESCENT, *BOTTOM, *RISE]) == {
        "descent": 20,
        "half_descent": 23,
        "minimum": 27,
        "upturn": 29,
        "divergence": 31,
    }


def test_what_is_not_reached_is_none() -> None:
    assert places_of([*FLAT, *DESCENT, *BOTTOM]) | {"descent": 0} == {
        "descent": 0, "half_descent": 23, "minimum": 27, "upturn": None, "divergence": None,
    }  # fmt: skip


def test_a_first_loss_that_is_not_typical_changes_nothing() -> None:
    usual, odd = [*FLAT, *DESCENT, *BOTTOM, *RISE], [40.0, *FLAT[1:], *DESCENT, *BOTTOM, *RISE]

    assert places_of(odd) == places_of(usual)


@pytest.mark.parametrize(("second", "minimum"), [(-1.0, 27), (-5.0, 34)])
def test_the_first_basin_counts_unless_the_second_is_much_deeper(second: float, minimum: int) -> None:
    """The first is 10 deep: that is more than 80 % of 11, and less than 80 % of 15."""
    assert places_of([*FLAT, *DESCENT, *BOTTOM, *RISE, 9.0, second, 9.0])["minimum"] == minimum


def test_a_second_descent_is_told_where_it_comes_as_far_down() -> None:
    def told(bottom: float) -> int | None:
        smooth: Losses = np.array([*FLAT, *DESCENT, *BOTTOM, *RISE, 9.0, bottom, 9.0])
        return second_descent(smooth, find_places(smooth))

    assert told(1.0) == 34
    assert told(3.0) is None


def test_a_plateau_halfway_is_told() -> None:
    steps = [*FLAT, 9.0, 7.0, 5.0, 5.0, 5.0, 5.0, 3.0, 1.0, 0.0, 5.0]
    smooth: Losses = np.array(steps)
    log_lr: Losses = np.log10(curve(steps).lr)

    assert resting_place(log_lr, smooth, find_places(smooth)) == 23
    assert landmarks(curve(steps)).plateau == pytest.approx(1e-6 * 10**11.5)
    assert landmarks(curve([*FLAT, *DESCENT, *BOTTOM, *RISE])).plateau is None


def test_a_descent_in_the_head_of_the_curve_has_no_beginning() -> None:
    falling = [10.0 - i / 4 for i in range(40)]

    assert landmarks(curve(falling)).falls_from_start
    assert not landmarks(curve([*FLAT, *FLAT, *falling])).falls_from_start
