"""What people type and read: sizes, learning rates, durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtool.errors import UsageError
from lrtool.units import format_bytes, format_duration, format_lr, parse_bytes, three_digits


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("0", 0),
        ("512", 512),
        ("24GiB", 24 * 2**30),
        ("24 gib", 24 * 2**30),
        ("24g", 24 * 2**30),
        ("1.5MiB", 1572864),
        ("80GB", 80 * 10**9),
        ("2KB", 2000),
        ("2k", 2048),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e9", "12 parsecs", "1.5.2", "nan"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_bytes(text)
    assert "24GiB" in caught.value.hint


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (3753902, "3.58 MiB"),
        (24 * 2**30, "24.0 GiB"),
        (-(2**20), "-1.00 MiB"),
        (2**30 - 1, "1.00 GiB"),
    ],
)
def test_sizes_are_shown_with_three_digits(num_bytes: int, text: str) -> None:
    assert format_bytes(num_bytes) == text


@given(st.integers(min_value=0, max_value=2**50))
def test_a_shown_size_is_within_half_a_percent_of_the_true_one(num_bytes: int) -> None:
    assert parse_bytes(format_bytes(num_bytes)) == pytest.approx(num_bytes, rel=0.005)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.012345, "0.0123"), (999.9, "1000"), (1234, "1234"), (9.996, "10.0")]
)
def test_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text


@pytest.mark.parametrize(("lr", "text"), [(0.0123456, "0.0123"), (1e-7, "1e-07"), (3.0, "3"), (1.25e-5, "1.25e-05")])
def test_learning_rates_can_be_pasted(lr: float, text: str) -> None:
    assert format_lr(lr) == text
    assert float(text) == pytest.approx(lr, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.123, "0.12 s"),
        (1.23, "1.2 s"),
        (12.3, "12 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
