"""The figures of memory, each against a case worked by hand."""

import pytest

from lrtool.memory.metrics import (
    Moment,
    Peaks,
    died_of_fragmentation,
    fragmentation,
    fragmentation_ratio,
    largest_free_ratio,
    moment,
    peaks,
    releasable_bytes,
    rounding_loss,
    split_ratio,
    trial_metrics,
)
from lrtool.results import Trial, metrics_of
from tests.sweep.made_trials import steps_of


def test_each_ratio_is_what_its_name_says() -> None:
    assert fragmentation_ratio(75, 100) == 0.25
    assert split_ratio(20, 100) == 0.2
    assert releasable_bytes(100, 75, 20) == 5
    assert rounding_loss(900, 1000) == pytest.approx(0.1)
    assert largest_free_ratio(10, 40) == 0.25


def test_nothing_reserved_has_no_ratio() -> None:
    nothing = Moment(allocated_bytes=0, active_bytes=0, requested_bytes=0, reserved_bytes=0, inactive_split_bytes=0)
    figures = fragmentation(Peaks(allocated_bytes=0, reserved_bytes=0, active_bytes=0, requested_bytes=0), nothing)
    assert figures.releasable_bytes == 0
    assert {figures.fragmentation, figures.split_fragmentation, figures.rounding_loss, figures.largest_free_ratio} == {
        None
    }


def test_the_largest_free_ratio_of_a_trial_is_that_of_the_moment_when_most_was_reserved() -> None:
    """100 reserved, 60 in use: free are 40, in pieces of 25, 10 and 5."""
    run = Peaks(allocated_bytes=75, reserved_bytes=100, active_bytes=75, requested_bytes=70)

    def ratio(active: int, largest: int | None) -> float | None:
        at = Moment(allocated_bytes=active, active_bytes=active, requested_bytes=active, reserved_bytes=100,
                    inactive_split_bytes=100 - active, largest_free_bytes=largest)  # fmt: skip
        known: float | None = trial_metrics(steps_of([60]), run, at)["largest_free_ratio"]
        return known

    assert ratio(60, 25) == 0.625
    assert ratio(60, None) is None, "on a GPU without a snapshot"
    assert ratio(100, 0) is None, "nothing is free"


def test_a_trials_metrics_are_fields_of_it_and_none_is_left_out() -> None:
    run = Peaks(allocated_bytes=1, reserved_bytes=1, active_bytes=1, requested_bytes=1)
    at = Moment(allocated_bytes=1, active_bytes=1, requested_bytes=1, reserved_bytes=1, inactive_split_bytes=0)

    assert {*trial_metrics(steps_of([1]), run, at), "growth"} == set(metrics_of(Trial))
    assert set(trial_metrics(steps_of([1]), None, None)) < set(metrics_of(Trial))


def test_more_used_than_reserved_cannot_be() -> None:
    with pytest.raises(AssertionError):
        releasable_bytes(100, 75, 30)


@pytest.mark.parametrize(("largest", "free", "died"), [(9, 30, True), (10, 30, False), (9, 9, False)])
def test_fragmentation_kills_what_would_fit_in_one_piece(largest: int, free: int, died: bool) -> None:
    assert died_of_fragmentation(10, largest_free_bytes=largest, free_bytes=free) is died


def test_figures_are_read_from_torchs_own_statistics() -> None:
    names = ("allocated_bytes", "active_bytes", "requested_bytes", "reserved_bytes", "inactive_split_bytes")
    stats = {
        f"{name}.all.{kind}": i * 10 + j for i, name in enumerate(names) for j, kind in enumerate(("current", "peak"))
    }
    assert peaks(stats) == Peaks(allocated_bytes=1, active_bytes=11, requested_bytes=21, reserved_bytes=31)
    now = moment(stats, largest_free_bytes=7)
    assert (now.reserved_bytes, now.free_bytes, now.largest_free_bytes) == (30, 20, 7)
