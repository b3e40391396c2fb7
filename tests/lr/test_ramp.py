"""The ramp's learning rates, and when its losses end it."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtool.config import RangeTestSettings
from lrtool.lr.ramp import DivergenceWatch, Stop, ramp_lrs

LRS = ramp_lrs(RangeTestSettings(num_steps=200))


def stop_of(losses: list[float]) -> Stop | None:
    return DivergenceWatch(LRS).feed(losses)


def noisy(level: float, count: int, sigma: float = 0.05) -> list[float]:
    draw = random.Random(0)
    return [level + draw.gauss(0, sigma) for _ in range(count)]


@given(st.floats(1e-9, 1e-2), st.floats(1.5, 1e6), st.integers(3, 500), st.sampled_from(["exp", "linear"]))
def test_a_ramp_rises_from_start_to_end(start: float, ratio: float, num_steps: int, mode: str) -> None:
    settings = RangeTestSettings(start_lr=start, end_lr=start * ratio, num_steps=num_steps, mode=mode)  # type: ignore[arg-type]
    lrs = ramp_lrs(settings)

    assert len(lrs) == num_steps
    assert (lrs[0], lrs[-1]) == pytest.approx((start, start * ratio))
    assert lrs == sorted(lrs)


def test_a_ramp_over_all_there_is_stays_finite() -> None:
    lrs = ramp_lrs(RangeTestSettings(start_lr=1e-308, end_lr=1e308))

    assert (lrs[0], lrs[-1]) == (1e-308, 1e308)
    assert all(math.isfinite(lr) for lr in lrs)


def test_a_falling_loss_does_not_stop() -> None:
    assert stop_of([2.3 - 0.01 * i for i in range(200)]) is None


@pytest.mark.parametrize("length", [1, 14])
def test_a_burst_does_not_stop(length: int) -> None:
    losses = noisy(2.3, 200)
    losses[100 : 100 + length] = [50.0] * length

    assert stop_of(losses) is None


def test_an_explosion_stops_where_it_happens() -> None:
    stop = stop_of([*noisy(2.3, 60), *[2.3 - 0.05 * i for i in range(20)], 5.0, 20.0, 90.0, 400.0, *[2e3] * 40])

    assert stop is not None
    assert (stop.kind, stop.num_points) == ("diverged", 105)
    assert "step 105" in stop.reason


def test_a_plateau_above_the_start_is_no_divergence() -> None:
    assert stop_of([*noisy(2.3, 60), *noisy(1.0, 60), *noisy(2.6, 60)]) is None


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_it(loss: float) -> None:
    stop = stop_of([2.3, 2.2, loss, 1.0])

    assert stop is not None
    assert (stop.kind, stop.num_points) == ("non-finite", 2)
    assert f"the loss is {loss} at step 3 (LR 1.2e-07)" == stop.reason


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_neither_the_losses_sign_nor_its_scale_matters(offset: float, scale: float) -> None:
    losses = [*noisy(2.3, 60), *[2.3 - 0.05 * i for i in range(20)], 5.0, 20.0, 90.0, 400.0, *[2e3] * 40]
    stop, moved = stop_of(losses), stop_of([offset + scale * loss for loss in losses])

    assert stop is not None
    assert moved is not None
    assert moved.num_points == stop.num_points


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_it_does_not_matter_how_often_one_looks(sizes: list[int]) -> None:
    losses = [*noisy(2.3, 60), 5.0, 20.0, 90.0, 400.0, *[1e3] * 20]
    watch, stop, begin = DivergenceWatch(LRS), None, 0
    for size in [*sizes, len(losses)]:
        stop = stop or watch.feed(losses[begin : begin + size])
        begin += size

    assert stop == stop_of(losses)
