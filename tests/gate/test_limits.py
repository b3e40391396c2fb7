"""How limits are written."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtool.errors import UsageError
from lrtool.gate.limits import Kind, Limit, format_limit, format_value, limit_of, parse_limit
from lrtool.results import METRICS


@pytest.mark.parametrize(
    ("text", "kind", "limit"),
    [
        ("peak_allocated=14GiB", "max", Limit(metric="peak_allocated", kind="max", value=14 * 2**30)),
        ("14GiB", "max", Limit(metric="peak_allocated", kind="max", value=14 * 2**30)),
        ("peak-reserved = 512 MiB", "max", Limit(metric="peak_reserved", kind="max", value=2**29)),
        ("growth=0", "max", Limit(metric="growth", kind="max", value=0)),
        ("growth=3", "max", Limit(metric="growth", kind="max", value=3)),
        ("growth=0.5", "max", Limit(metric="growth", kind="max", value=0.5)),
        ("peak_allocated=0", "max", Limit(metric="peak_allocated", kind="max", value=0)),
        ("peak_allocated=1048576", "max", Limit(metric="peak_allocated", kind="max", value=2**20)),
        ("peak_allocated:0", "increase", Limit(metric="peak_allocated", kind="increase", value=0)),
        ("growth=1.5KiB", "max", Limit(metric="growth", kind="max", value=1536)),
        ("fragmentation=10%", "max", Limit(metric="fragmentation", kind="max", value=0.1)),
        ("fragmentation=0.1", "max", Limit(metric="fragmentation", kind="max", value=0.1)),
        ("out_of_memory=0", "max", Limit(metric="out_of_memory", kind="max", value=0)),
        ("max_lr=0.01", "min", Limit(metric="max_lr", kind="min", value=0.01)),
        ("peak_allocated:5%", "increase", Limit(metric="peak_allocated", kind="increase", value=0.05, is_share=True)),
        ("peak_allocated=5%", "increase", Limit(metric="peak_allocated", kind="increase", value=0.05, is_share=True)),
        ("5%", "increase", Limit(metric="peak_allocated", kind="increase", value=0.05, is_share=True)),
        ("peak_allocated:200MiB", "increase", Limit(metric="peak_allocated", kind="increase", value=200 * 2**20)),
        ("fragmentation:0.02", "increase", Limit(metric="fragmentation", kind="increase", value=0.02)),
        ("fragmentation:2%", "increase", Limit(metric="fragmentation", kind="increase", value=0.02, is_share=True)),
    ],
)
def test_a_limit_is_a_name_and_a_value(text: str, kind: Kind, limit: Limit) -> None:
    assert parse_limit(text, kind) == limit


@pytest.mark.parametrize(
    ("text", "kind", "message", "hint"),
    [
        ("peak_alocated=3", "max", "'peak_alocated' is no metric", "did you mean 'peak_allocated'?"),
        ("=3", "max", "'' is no metric", "known: "),
        ("growth", "max", "'growth' is no limit of peak_allocated", "peak_allocated=14GiB"),
        ("growth=fast", "max", "'fast' is no limit of growth", "growth=0"),
        ("peak_allocated=5%", "max", "'5%' is no limit of peak_allocated", "peak_allocated=14GiB"),
        ("peak_allocated=-1", "max", "'-1' is no limit", "peak_allocated=14GiB"),
        ("peak_allocated:-5%", "increase", "'-5%' is no limit", "peak_allocated:5%"),
        ("peak_allocated=24", "max", "'24' is no limit of peak_allocated", "did you mean peak_allocated=24GiB?"),
        ("24", "max", "'24' is no limit of peak_allocated", "did you mean peak_allocated=24GiB?"),
        ("peak-reserved=24576", "max", "'24576' is no limit of peak_reserved", "peak_reserved=24576MiB"),
        ("inactive_split=24", "max", "'24' is no limit of inactive_split", "inactive_split=24GiB"),
        ("peak_allocated=8", "min", "'8' is no limit of peak_allocated", "peak_allocated=8GiB"),
        ("peak_allocated:200", "increase", "'200' is no limit", "did you mean peak_allocated:200MiB or 200GiB?"),
        ("peak_allocated=" + "9" * 50, "max", "is no limit of peak_allocated", "peak_allocated=14GiB"),
        ("growth=1e400GiB", "max", "is no limit of growth", "growth=0"),
        ("growth=1e300GiB", "max", "is no limit of growth", "growth=0"),
        ("best_loss=nan", "max", "'nan' is no limit", "best_loss=0.5"),
        ("best_loss=inf", "max", "'inf' is no limit", "best_loss=0.5"),
        ("max_lr=", "min", "'' is no limit of max_lr", "max_lr=0.01"),
    ],
)
def test_what_is_no_limit_is_told_with_an_example(text: str, kind: Kind, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_limit(text, kind)

    assert hint in caught.value.hint


@given(st.text(max_size=30), st.sampled_from(["max", "min", "increase"]))
def test_any_text_is_a_limit_or_a_usage_error(text: str, kind: Kind) -> None:
    with suppress(UsageError):
        assert parse_limit(text, kind).value >= 0


def test_values_of_a_settings_file_need_no_text() -> None:
    assert limit_of("growth", 0, "max").value == 0
    assert limit_of("growth", 3, "max").value == 3
    with pytest.raises(UsageError, match="'24' is no limit of peak_allocated"):
        limit_of("peak_allocated", 24, "max")
    assert limit_of("max_lr", 0.01, "min").value == 0.01


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (limit_of("peak_allocated", "14GiB", "max"), "≤ 14.0 GiB"),
        (limit_of("max_lr", 0.01, "min"), "≥ 0.01"),
        (limit_of("peak_allocated", "5%", "increase"), "+5%"),
        (limit_of("growth", 0, "increase"), "+0 B"),
        (limit_of("fragmentation", "10%", "max"), "≤ 10%"),
    ],
)
def test_limits_as_people_read_them(limit: Limit, text: str) -> None:
    assert format_limit(limit) == text


def test_a_growth_of_less_than_a_byte_is_not_nothing() -> None:
    assert format_value("growth", 0.25) == "0.250 B"


def test_every_metric_is_known_by_its_own_name() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
