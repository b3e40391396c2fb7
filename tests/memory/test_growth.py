"""Growth, warm-up, periods and forecasts, against series whose truth is known."""

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrtool.memory.growth import (
    BoundedGrowth,
    bounded_growth,
    device_allocs_per_step,
    forecast_step,
    fragmentation_growth,
    full_at_step,
    is_growing,
    step_growth,
)
from lrtool.results import StepGrowth, StepSeries

MIB = 2**20


def found(series: Sequence[int]) -> StepGrowth:
    growth = step_growth(series)
    assert growth is not None
    assert growth.low_bytes_per_step <= growth.bytes_per_step <= growth.high_bytes_per_step
    return growth


def interval(series: Sequence[int]) -> tuple[float, float]:
    return found(series).low_bytes_per_step, found(series).high_bytes_per_step


def test_a_straight_line_has_its_slope_exactly() -> None:
    growth = found([1000 + 3_753_903 * step for step in range(7000)])

    assert growth == StepGrowth(
        bytes_per_step=3_753_903, low_bytes_per_step=3_753_903, high_bytes_per_step=3_753_903,
        warmup_steps=0, period_steps=1,
    )  # fmt: skip


def test_the_warm_up_is_left_out() -> None:
    growth = found([0, 70, *[100] * 20])

    assert (growth.bytes_per_step, growth.warmup_steps) == (0, 2)


def test_under_three_steps_nothing_is_said() -> None:
    assert step_growth([]) is None
    assert step_growth([1, 2]) is None
    assert found([10, 20, 30]).bytes_per_step == 10


@pytest.mark.parametrize("every", [2, 5, 21, 100])
def test_what_comes_back_every_k_steps_is_no_growth(every: int) -> None:
    growth = found([0, *(500 + 300 * (step % every == 0) for step in range(4 * every + 3))])

    assert (growth.bytes_per_step, growth.low_bytes_per_step, growth.high_bytes_per_step) == (0, 0, 0)


def test_a_sawtooth_over_an_epoch_is_no_growth_and_names_its_period() -> None:
    growth = found([step % 40 * MIB for step in range(200)])

    assert (growth.bytes_per_step, growth.period_steps) == (0, 40)


def test_a_leak_at_every_evaluation_is_shared_out_over_the_steps() -> None:
    growth = found([step // 50 * 5000 for step in range(400)])

    assert (growth.bytes_per_step, growth.period_steps) == (100, 50)


def test_the_last_smaller_batch_of_the_only_epoch_bends_nothing() -> None:
    assert interval([*[900] * 20, 700]) == (0, 0)
    assert interval([*(900 + 4 * step for step in range(60)), 700]) == (4, 4)


def test_one_jump_is_no_growth_whenever_it_comes() -> None:
    for at in range(1, 60):
        low, high = interval([100] * at + [8_519_780] * (60 - at))
        assert low <= 0 <= high, at


def test_one_jump_does_not_hide_or_bend_a_leak() -> None:
    for at in range(1, 400, 7):
        growth = found([512 * step + (8_519_680 if step >= at else 0) for step in range(400)])
        assert growth.bytes_per_step == 512, at


def test_noise_is_no_growth_and_a_leak_below_noise_is_found() -> None:
    rng = random.Random(0)
    noise = [rng.randrange(100 * MIB) for _ in range(3000)]
    low, high = interval(noise)
    assert low < 0 < high

    leak = found([each + 2 * MIB * step for step, each in enumerate(noise)])
    assert leak.bytes_per_step == pytest.approx(2 * MIB, rel=0.02)
    assert leak.low_bytes_per_step < 2 * MIB < leak.high_bytes_per_step
    assert is_growing(leak)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(200):
        low, high = interval([int(rng.gauss(0, 1e6)) + 1000 * step for step in range(120)])
        held += low <= 1000 <= high
    assert held >= 184


def test_an_irregular_leak_is_found() -> None:
    rng = random.Random(2)
    level, series = 0, []
    for _ in range(2000):
        level += 4096 if rng.random() < 0.1 else 0
        series.append(level)
    assert found(series).bytes_per_step == pytest.approx(series[-1] / 2000, rel=0.1)
    assert is_growing(found(series))


def test_a_filled_cache_has_stopped_growing() -> None:
    assert found([min(step, 60) * 1000 for step in range(300)]).bytes_per_step == 0


line = st.lists(st.integers(0, 2**40), min_size=3, max_size=60)


@settings(max_examples=60, deadline=None)
@given(line, st.integers(-(2**40), 2**40))
def test_a_constant_more_changes_nothing(series: list[int], more: int) -> None:
    assert step_growth([each + more for each in series]) == step_growth(series)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**36), min_size=1, max_size=25), st.integers(2, 6), st.integers(0, 24))
def test_what_repeats_has_an_interval_with_zero(pattern: list[int], times: int, rest: int) -> None:
    series = pattern * times + pattern[: rest % len(pattern)]
    if len(series) >= 3:
        low, high = interval(series)
        assert low <= 0 <= high


@settings(max_examples=60, deadline=None)
@given(st.integers(-(2**30), 2**30), st.integers(0, 2**40), st.integers(3, 300))
def test_exactly_linear_is_exactly_told(slope: int, level: int, num_steps: int) -> None:
    assert interval([level + slope * step for step in range(num_steps)]) == (slope, slope)


def test_the_forecast_is_the_first_step_that_does_not_fit() -> None:
    for level, rate, within, capacity in [
        (100, 7, 30, 1000),
        (100, 7, 0, 107),
        (0, 3, 5, 5),
        (10, 2, 2, 99),
    ]:
        step = forecast_step(
            level_bytes=level, at_step=10, bytes_per_step=rate, within_step_bytes=within, capacity_bytes=capacity
        )
        assert step is not None
        assert level + within + rate * (step - 10) > capacity
        assert level + within + rate * (step - 11) <= capacity


def test_the_forecast_without_growth_or_without_room() -> None:
    assert forecast_step(level_bytes=1, at_step=5, bytes_per_step=0, capacity_bytes=10) is None
    assert forecast_step(level_bytes=1, at_step=5, bytes_per_step=-3.0, capacity_bytes=10) is None
    assert forecast_step(level_bytes=11, at_step=5, bytes_per_step=0, capacity_bytes=10) == 5


def test_the_story_of_the_mission() -> None:
    rate, capacity = 3_753_903, 24 * 2**30
    step = forecast_step(level_bytes=574_000_000, at_step=1, bytes_per_step=rate, capacity_bytes=capacity)
    assert step is not None
    assert 6000 < step < 7000


def test_reserved_that_climbs_over_flat_active_is_fragmentation() -> None:
    climbing, flat = [20 * MIB + step * 2048 for step in range(50)], [10 * MIB] * 50

    climb = fragmentation_growth(climbing, flat)
    assert climb is not None
    assert climb.reserved_bytes_per_step == 2048
    assert fragmentation_growth(climbing, climbing) is None
    assert fragmentation_growth(flat, flat) is None


def test_device_allocations_are_counted_after_the_warm_up() -> None:
    assert device_allocs_per_step([5, 9, 9, 9], warmup_steps=2) == 0
    assert device_allocs_per_step([5, 9, 10, 12], warmup_steps=2) == 1.5
    assert device_allocs_per_step([5], warmup_steps=2) is None


def rising(num_steps: int, by: int, start: int = 100) -> list[int]:
    return [start + by * step for step in range(1, num_steps + 1)]


def test_a_pool_that_fills_up_has_a_bound() -> None:
    """50 steps of 3 each on 100, of which the first is there when everything else is."""
    assert bounded_growth([*rising(50, 3), *[250] * 14]) == BoundedGrowth(
        until_step=50, level_bytes=250, added_bytes=150, falls=False
    )


def test_what_is_dropped_at_an_epochs_end_falls() -> None:
    assert bounded_growth([*rising(10, 3), *rising(10, 3), *rising(10, 3)]) == BoundedGrowth(
        until_step=10, level_bytes=130, added_bytes=30, falls=True
    )


@pytest.mark.parametrize(
    "series",
    [
        rising(40, 3),
        [*rising(40, 3), *[220] * 7],
        [100] * 40,
        [*rising(4, 3), *[112] * 30],
        [100, 103, 101, 104, 102, 105, 103, 106, *[106] * 20],
        [],
    ],
    ids=["goes on", "has only begun to be flat", "flat", "a warm-up", "half of it falls", "nothing"],
)
def test_other_series_have_none(series: list[int]) -> None:
    assert bounded_growth(series) is None


def grown(peaks: list[int], *, ends: list[int] | None = None, reserved: list[int] | None = None) -> StepSeries:
    count = len(peaks)
    zeros, ends = (0,) * count, ends or peaks
    return StepSeries(
        allocated_bytes=tuple(ends), active_bytes=tuple(ends), reserved_bytes=tuple(reserved or peaks),
        inactive_split_bytes=zeros, requested_bytes=tuple(ends), peak_allocated_bytes=tuple(peaks),
        num_alloc_retries=zeros, num_device_allocs=zeros,
    )  # fmt: skip


@pytest.mark.parametrize(
    "peak",
    [
        pytest.param(lambda step: 1000 + 7 * step, id="straight"),
        pytest.param(lambda step: 500 + 2 * 12 * step, id="twice what is kept"),
        pytest.param(lambda step: 3 * step * step + 40 * step, id="square"),
        pytest.param(lambda step: 1000 + round(2**step), id="doubling"),
        pytest.param(lambda step: 1000 + 5 * step + 300 * (step % 4 == 0), id="every fourth step higher"),
    ],
)
@pytest.mark.parametrize("capacity", [4_000, 100_000])
def test_the_step_at_which_peaks_do_not_fit_is_found_by_their_law(peak: Callable[[int], int], capacity: int) -> None:
    """Of sixteen steps, as many as are known when growth is first looked at."""
    truth = next(step for step in range(1, 100_000) if peak(step) > capacity)
    known = min(16, truth - 1)
    found = full_at_step(grown([peak(step) for step in range(1, known + 1)]), capacity_bytes=capacity)

    assert found is not None
    assert abs(found - truth) <= max(1, 0.02 * truth)


def test_growth_without_a_law_has_no_forecast() -> None:
    jumps = [1000, 1010, 1500, 1501, 1502, 2900, 2901, 2950, 4800, 4801, 5200, 9000, 9001, 9500, 16000, 16001]

    assert full_at_step(grown(jumps), capacity_bytes=10**6) is None
    assert full_at_step(grown([1000] * 16), capacity_bytes=10**6) is None


def test_reserved_memory_that_climbs_faster_decides() -> None:
    peaks = [1000 + 10 * step for step in range(1, 21)]
    found = full_at_step(grown(peaks, reserved=[2000 + 20 * step for step in range(1, 21)]), capacity_bytes=11_200)

    assert found == 20 + (11_200 - 1200) // 20 + 1
