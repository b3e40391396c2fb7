"""Smoothing: no lag, no leak, no outlier."""

import math
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrtool.lr.curve.smoothing import (
    by_moments,
    median_curve,
    running_median,
    smoothed,
    smoothed_curve,
    smoothing_matrix,
)


def valley(count: int = 200) -> list[float]:
    return [2.0 + ((i - 120) / 60) ** 2 for i in range(count)]


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=3), st.integers(7, 40))
@settings(max_examples=50, deadline=None)
def test_a_parabola_is_left_alone(coefficients: list[float], count: int) -> None:
    """So it has neither lag nor bias for curves of this kind; a moving average has both."""
    x = np.linspace(-1, 1, count)
    parabola = np.polyval(coefficients, x).astype(np.float64)

    assert smoothing_matrix(count, 7) @ parabola == pytest.approx(parabola, abs=1e-6)


def test_an_explosion_does_not_leak_to_the_left() -> None:
    draw = random.Random(0)
    calm = [2.3 + draw.gauss(0, 0.01) for _ in range(150)]
    smooth = smoothed(np.array([*calm, *[1e9] * 50]))

    assert smooth[:140] == pytest.approx(2.3, abs=0.02)


@pytest.mark.parametrize("outlier", [-1e6, -50.0, 50.0, 1e6])
def test_a_single_outlier_moves_nothing(outlier: float) -> None:
    draw = random.Random(0)
    losses = np.array([loss + draw.gauss(0, 0.01) for loss in valley()])
    hit = losses.copy()
    hit[100] = outlier

    assert smoothed(hit) == pytest.approx(smoothed(losses), abs=0.02)


def test_a_large_offset_costs_no_digits() -> None:
    losses = np.array(valley())

    assert smoothed(losses + 1e9) - 1e9 == pytest.approx(smoothed(losses), abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 30])
def test_few_points_are_smoothed_too(count: int) -> None:
    assert smoothed(np.linspace(2.0, 1.0, count)) == pytest.approx(np.linspace(2.0, 1.0, count), abs=1e-9)


def test_the_median_of_repeats_goes_as_far_as_the_shortest() -> None:
    lrs = [10.0 ** (i / 10) for i in range(30)]
    curves = [smoothed_curve(lrs[:count], [level] * count) for count, level in ((30, 1.0), (20, 2.0), (25, 9.0))]
    curve = median_curve(curves)

    assert curve.lr == tuple(lrs[:20])
    assert curve.loss == (2.0,) * 20
    assert all(math.isclose(loss, 2.0) for loss in curve.smoothed_loss)


@pytest.mark.parametrize("span", [5, 12, 39, 600])
def test_many_points_are_smoothed_as_few_are(span: int) -> None:
    """Neither the rows of the matrix that are at an end nor those of several columns differ."""
    values = np.random.default_rng(0).normal(size=(300, 4)) + np.linspace(3, 0, 300)[:, None]
    expected = smoothing_matrix(300, span) @ values

    assert by_moments(values, span) == pytest.approx(expected, abs=1e-9)
    assert by_moments(values[:, 0], span) == pytest.approx(expected[:, 0], abs=1e-9)


def test_a_long_ramp_takes_memory_by_its_points_and_not_by_their_square() -> None:
    losses = np.random.default_rng(0).normal(size=20_000)
    tracemalloc.start()
    try:
        smooth = smoothed(losses)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert float(np.std(smooth)) < 0.1
    assert peak_bytes < 2_000 * len(losses)


@pytest.mark.parametrize(("count", "half"), [(30, 5), (31, 2), (40, 13)])
def test_a_running_median_is_that_of_the_neighbours(count: int, half: int) -> None:
    values = np.random.default_rng(0).integers(0, 9, count).astype(np.float64)
    mirrored = np.pad(values, half, mode="reflect")

    assert running_median(values, half).tolist() == [np.median(mirrored[i : i + 2 * half + 1]) for i in range(count)]
