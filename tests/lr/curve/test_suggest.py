"""From synthetic curves whose answer is known to the suggestion."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrtool.lr.curve.landmarks import landmarks
from lrtool.lr.curve.smoothing import smoothed_curve
from lrtool.lr.curve.suggest import suggest

Points = tuple[list[float], list[float]]


def curve(*, sigma: float = 0.01, count: int = 200, seed: int = 0, minimum: float = 0.1, drop: float = 1.0) -> Points:
    """A test whose descent begins around minimum / 300, is over at `minimum`, and turns up ten times beyond it."""
    draw = random.Random(seed)
    lrs = [1e-7 * 10 ** (8 * i / (count - 1)) for i in range(count)]
    losses = []
    for lr in lrs:
        x = math.log10(lr / minimum)
        fall = drop / (1 + math.exp(-4 * (x + 1)))
        losses.append(2.3 - fall + 3 * drop * max(0.0, x - 0.3) ** 2 + draw.gauss(0, sigma))
    return lrs, losses


def test_a_clean_curve_gets_a_range_around_its_descent() -> None:
    found = suggest([curve()])
    (group,) = found.groups

    assert group.max_lr == pytest.approx(0.1, rel=1.0)
    assert group.base_lr is not None
    assert group.suggested_lr is not None
    assert group.max_lr is not None
    assert 1e-4 < group.base_lr < group.suggested_lr < group.max_lr
    assert found.confidence == "high"
    assert "minimum at" in found.reason
    assert found.advice is None


@given(st.floats(1e-4, 1e4), st.floats(-1e4, 1e4))
@settings(max_examples=25, deadline=None)
def test_scaling_or_shifting_the_loss_moves_nothing(scale: float, offset: float) -> None:
    lrs, losses = curve()
    plain = suggest([(lrs, losses)]).groups[0]
    moved = suggest([(lrs, [offset + scale * loss for loss in losses])]).groups[0]

    assert moved.max_lr == pytest.approx(plain.max_lr, rel=0.05)
    assert moved.base_lr == pytest.approx(plain.base_lr, rel=0.2)


@given(st.floats(1e-4, 1.0))
@settings(max_examples=25, deadline=None)
def test_moving_the_curve_along_the_axis_moves_the_suggestion_with_it(minimum: float) -> None:
    found = suggest([curve(minimum=minimum)]).groups[0]

    assert found.max_lr is not None
    assert minimum / 3 < found.max_lr < minimum * 3


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_noise_does_not_move_it_far(seed: int) -> None:
    found = suggest([curve(sigma=0.1, seed=seed)]).groups[0]

    assert found.max_lr is not None
    assert 0.02 < found.max_lr < 0.4


def test_groups_are_suggested_in_their_ratio() -> None:
    one, tenth = suggest([curve()], group_ratios=(1.0, 0.1)).groups

    for key in ("base_lr", "max_lr", "suggested_lr"):
        assert getattr(tenth, key) == pytest.approx(getattr(one, key) / 10)


def test_an_explosion_does_not_leak_to_the_left() -> None:
    lrs, losses = curve()
    exploded = [*losses[:-10], *[1e6] * 10]

    assert suggest([(lrs, exploded)]).groups[0].max_lr == pytest.approx(
        suggest([(lrs, losses)]).groups[0].max_lr, rel=0.1
    )


def test_a_flat_curve_supports_nothing() -> None:
    draw = random.Random(0)
    lrs, _ = curve()
    found = suggest([(lrs, [2.3 + draw.gauss(0, 0.1) for _ in lrs])])

    assert found.confidence == "none"
    assert found.groups[0].max_lr is None
    assert "does not fall" in found.reason
    assert found.advice is not None
    assert "--end-lr" in found.advice


@pytest.mark.parametrize("level", [1.0, -50.3, 2.3025853])
def test_a_loss_that_never_changes_does_not_fall_by_what_smoothing_rounds(level: float) -> None:
    lrs = [1e-7 * 1e8 ** (i / 59) for i in range(60)]

    assert suggest([(lrs, [level] * 60)]).confidence == "none"


def test_a_rising_curve_supports_nothing() -> None:
    lrs, _ = curve()
    found = suggest([(lrs, [2.3 + 0.01 * i for i in range(len(lrs))])])

    assert (found.confidence, found.reason) == ("none", "the loss only rises")
    assert found.advice is not None
    assert "--start-lr" in found.advice


def test_a_few_points_support_nothing() -> None:
    lrs, losses = curve()
    found = suggest([(lrs[:8], losses[:8])])

    assert found.confidence == "none"
    assert "8 points" in found.reason


def test_a_curve_that_still_falls_at_its_end_is_not_trusted() -> None:
    lrs, losses = curve(minimum=100.0)
    found = suggest([(lrs, losses)])

    assert found.confidence == "low"
    assert found.advice is not None
    assert "--end-lr" in found.advice


def test_a_curve_that_falls_from_its_start_is_not_trusted() -> None:
    lrs, losses = curve()
    cut = next(i for i, lr in enumerate(lrs) if lr > 0.005)
    found = suggest([(lrs[cut:], losses[cut:])])

    assert found.confidence == "low"
    assert found.advice is not None
    assert "--start-lr" in found.advice


def test_repeats_are_taken_together() -> None:
    curves = [curve(sigma=0.2, seed=seed) for seed in range(5)]
    found = suggest(curves)

    assert len(found.repeats) == 5
    assert found.groups[0].max_lr == pytest.approx(0.1, rel=1.0)


def test_repeats_of_different_length_count_as_far_as_the_shortest() -> None:
    lrs, losses = curve()
    found = suggest([(lrs, losses), (lrs[:150], losses[:150])])

    assert len(found.curve.lr) == 150


def test_an_empty_curve_is_an_error() -> None:
    nothing: list[list[Points]] = [[], [([], [])], [([1.0], [])]]
    for curves in nothing:
        with pytest.raises(ValueError, match="at least one point"):
            suggest(curves)


def test_landmarks_stand_in_order() -> None:
    marks = landmarks(smoothed_curve(*curve(sigma=0.001)))

    assert marks.descent < marks.half_descent < marks.minimum
    assert marks.upturn is not None
    assert marks.divergence is not None
    assert marks.minimum < marks.upturn < marks.divergence
    assert marks.half_descent == pytest.approx(0.01, rel=0.3)
    assert marks.drop == pytest.approx(1.0, rel=0.1)


def two_descents(*, plateau: float, explosion: float) -> Points:
    """Half of the fall around 1e-4, the rest around 1e-1; in between the loss rests, or stands `explosion` higher."""
    draw = random.Random(0)
    lrs = [1e-7 * 10 ** (9 * i / 299) for i in range(300)]
    losses = []
    for lr in lrs:
        x = math.log10(lr)
        fall = plateau / (1 + math.exp(-6 * (x + 4.5))) + (1 - plateau) / (1 + math.exp(-6 * (x + 1.5)))
        hump = explosion * math.exp(-((x + 3) ** 2) / 0.1)
        losses.append(2.3 - fall + hump + 3 * max(0.0, x) ** 2 + draw.gauss(0, 0.005))
    return lrs, losses


@pytest.mark.parametrize(
    ("plateau", "explosion", "told"),
    [(0.5, 0.0, "it falls in two steps, with a plateau at"), (1.0, 3.0, "it explodes and falls again")],
)
def test_a_curve_with_two_descents_is_told_as_such(plateau: float, explosion: float, told: str) -> None:
    found = suggest([two_descents(plateau=plateau, explosion=explosion)])

    assert told in found.reason
    assert found.confidence != "high"
    assert found.advice is not None
    assert "--confirm" in found.advice
