"""What people type and read: sizes, learning rates, durations."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtool.errors import UsageError
from lrtool.units import (
    MOST_BYTES,
    decimal_size,
    format_bytes,
    format_duration,
    format_lr,
    parse_bytes,
    parse_memory,
    three_digits,
)


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
        ("24Gi", 24 * 2**30),
        (" .5 GiB ", 2**29),
        ("24.GiB", 24 * 2**30),
        ("1e3GiB", 1000 * 2**30),
        ("2.5E-1 kib", 256),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e9", "12 parsecs", "1.5.2", "nan", "1e400GiB", "9" * 5000, "4 ti"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_bytes(text)
    assert "24GiB" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("24", "24GiB"),
        (" 24.0 ", "24GiB"),
        ("0.5", "0.5GiB"),
        ("192", "192GiB"),
        ("512", "512MiB or 512GiB"),
        ("24576", "24576MiB (that is 24.0 GiB)"),
        ("1048575", "1048575MiB"),
    ],
)
def test_a_bare_number_that_is_too_few_bytes_is_told_what_it_probably_means(text: str, meant: str) -> None:
    with pytest.raises(UsageError, match="without a unit") as caught:
        parse_memory(text)
    assert f"did you mean {meant}" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "num_bytes"), [("0", 0), ("1048576", 2**20), ("25769803776", 24 * 2**30), ("64KiB", 65536), ("24B", 24)]
)
def test_what_can_be_bytes_is_bytes(text: str, num_bytes: int) -> None:
    assert parse_memory(text) == num_bytes


@pytest.mark.parametrize("text", ["9" * 50, "9" * 30 + "GiB", "1e30GiB", "2000000TiB"])
def test_more_memory_than_there_is_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="more memory than there is"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("text", "meant"), [("24,5GiB", "24.5GiB?"), ("24,5", "24.5GiB?"), ("1,024 MiB", "1.024MiB or 1024MiB?")]
)
def test_a_comma_is_told_to_be_a_point(text: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_memory(text)
    assert meant in caught.value.hint


@given(st.text(max_size=12) | st.from_regex(r"[-+]?[0-9.,e_ ]{1,9} ?[kKmMgGtTiIbB]{0,4}", fullmatch=True))
def test_any_text_is_an_amount_of_memory_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert 0 <= parse_memory(text) <= MOST_BYTES


@pytest.mark.parametrize(
    ("text", "told"), [("24GB", "24 GB = 22.4 GiB"), ("1.5 mb", "1.5 MB = 1.43 MiB"), ("24GiB", None), ("24", None)]
)
def test_powers_of_ten_are_told(text: str, told: str | None) -> None:
    assert decimal_size(text) == told


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
