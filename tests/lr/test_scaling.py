"""The power law of the LR over the batch size: recovered, with an interval that widens with what is not known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtool.lr.batch_sizes import fit_power_law, student_975

SIZES = [16, 32, 64] * 3
WOBBLE = [0.9, 1.1, 1.0, 1.05, 0.95, 1.0, 1.1, 0.9, 1.02]


def test_an_exact_law_is_recovered_without_doubt() -> None:
    law = fit_power_law([16, 32, 128], [0.1 * size**0.5 for size in (16, 32, 128)])

    assert law is not None
    assert (law.exponent, law.low, law.high) == pytest.approx((0.5, 0.5, 0.5))
    assert law.factor == pytest.approx(0.1)


def test_the_interval_is_students() -> None:
    """Three points: slope 0.5, residuals (1, -2, 1) / 6 of log 4, one degree of freedom, worked by hand."""
    law = fit_power_law([1, 4, 16], [1.0, 1.0, 4.0])

    assert law is not None
    assert law.exponent == pytest.approx(0.5)
    residual = math.sqrt((1 + 4 + 1) / 36) * math.log(4)
    half = 12.706 * residual / math.sqrt(2 * math.log(4) ** 2)
    assert (law.low, law.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_two_points_have_a_slope_and_no_interval() -> None:
    law = fit_power_law([16, 32], [0.1, 0.2])

    assert law is not None
    assert law.exponent == pytest.approx(1.0)
    assert (law.low, law.high) == (None, None)


def test_one_size_tells_no_law() -> None:
    assert fit_power_law([32, 32, 32], [0.1, 0.2, 0.3]) is None


@pytest.mark.parametrize(("sizes", "lrs"), [([0, 16], [0.1, 0.1]), ([16, 32], [0.1, -0.1]), ([], [])])
def test_what_has_no_logarithm_is_refused(sizes: list[float], lrs: list[float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        fit_power_law(sizes, lrs)


@given(exponent=st.floats(-1, 2), factor=st.floats(1e-6, 1e3), unit=st.floats(0.1, 100))
def test_neither_the_unit_of_the_lr_nor_that_of_the_size_moves_the_exponent(
    exponent: float, factor: float, unit: float
) -> None:
    lrs = [wobble * size**exponent for size, wobble in zip(SIZES, WOBBLE, strict=True)]
    law = fit_power_law(SIZES, lrs)
    scaled = fit_power_law([size * unit for size in SIZES], [lr * factor for lr in lrs])

    assert law is not None
    assert scaled is not None
    assert scaled.exponent == pytest.approx(law.exponent, abs=1e-6)
    assert scaled.high == pytest.approx(law.high, abs=1e-6)


@given(spread=st.floats(1.01, 3))
def test_more_scatter_is_a_wider_interval(spread: float) -> None:
    def width(power: float) -> float:
        law = fit_power_law(SIZES, [size**0.5 * wobble**power for size, wobble in zip(SIZES, WOBBLE, strict=True)])
        assert law is not None
        assert law.low is not None
        assert law.high is not None
        return law.high - law.low

    assert width(spread) > width(1.0)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (7, 2.365), (11, 2.201), (30, 2.042), (120, 1.980)])
def test_students_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert student_975(freedom) == pytest.approx(quantile, rel=1e-3)
