"""What a cure did, from two reports."""

from typing import Any

import pytest

from lrtool.diagnosis.cure_trials.effects import effect_of, effect_of_settings, going_together, in_order
from lrtool.diagnosis.cure_trials.reports import CureReport, CureTrial, SettingsPeaks, TrialEnding
from lrtool.diagnosis.cures.cure import Cure
from lrtool.results import CureEffect, CureFigures, Recorder
from tests.diagnosis.cure_trials.made_cures import MIB, effect, figures

CURE = Cure(name="checkpointing", title="activation checkpointing", time_by_operations=True)


def peaks(
    reserved_mib: int, *, fits: bool | None = True, settings: str = "", at_capacity: int | None = None
) -> SettingsPeaks:
    limited = reserved_mib if at_capacity is None else at_capacity
    return SettingsPeaks(
        name="", settings=settings, peak_allocated_bytes=reserved_mib * MIB, peak_reserved_bytes=reserved_mib * MIB,
        reserved_at_capacity_bytes=limited * MIB, fits=fits,
    )  # fmt: skip


def report(*of: SettingsPeaks, ending: TrialEnding = "ok", **more: Any) -> CureReport:
    return CureReport(trial=CureTrial(number=2), ending=ending, peaks=of, **more)


def found(after: CureReport, before: CureFigures, cure: Cure = CURE, recorder: Recorder = "predicted") -> CureEffect:
    return effect_of(cure, after, before, recorder=recorder)


def test_saved_bytes_are_the_difference_of_the_peaks() -> None:
    told = found(report(peaks(100)), figures(180, 150))

    assert (told.outcome, told.saved_reserved_bytes, told.saved_allocated_bytes) == ("helps", 80 * MIB, 50 * MIB)


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (figures(300, fits=False), peaks(299, fits=True), "helps"),
        (figures(300, fits=True), peaks(100, fits=False), "costs"),
        (figures(1000, fits=True), peaks(995), "no effect"),
        (figures(1000, fits=True), peaks(1005), "no effect"),
        (figures(1000, fits=True), peaks(1020), "costs"),
        (figures(100, 90), peaks(100), "costs"),
        (figures(100, 100, fits=None), peaks(50, fits=None), "helps"),
    ],
)
def test_it_helps_where_it_fits_or_takes_a_hundredth_less(
    before: CureFigures, after: SettingsPeaks, outcome: str
) -> None:
    assert found(report(after), before).outcome == outcome


def test_time_is_measured_else_by_operations_where_these_tell_it_else_left_out() -> None:
    before = figures(100, num_operations=300, step_duration_s=0.1)
    counted = found(report(peaks(50), num_operations=400), before)
    measured = found(report(peaks(50), num_operations=400, step_duration_s=0.15), before)
    untold = found(report(peaks(50), num_operations=300), before, Cure(name="bf16", title="bf16"))

    assert (counted.time_ratio, counted.time_basis) == (400 / 300, "operations")
    assert measured.time_ratio == pytest.approx(1.5)
    assert measured.time_basis == "measured"
    assert (untold.time_ratio, untold.time_basis) == (None, None)


def test_losses_are_compared_only_where_both_were_computed_on_the_same_batches() -> None:
    before, after = figures(100, loss=2.0), report(peaks(50), loss=2.5)
    other = Cure(name="half", title="half the batch", keeps_batches=False)

    assert found(after, before).loss_difference == 0.5
    assert found(after, figures(100)).loss_difference is None
    assert found(after, before, other).loss_difference is None


def test_a_run_on_the_gpu_that_died_has_no_whole_peak_to_compare() -> None:
    died = figures(200, fits=False)

    told = found(report(peaks(150, fits=True)), died, recorder="cuda")

    assert told.outcome == "helps"
    assert told.saved_reserved_bytes is None
    assert told.saved_allocated_bytes is None


@pytest.mark.parametrize(
    ("ending", "outcome"), [("cannot help", "cannot help"), ("advice", "advice"), ("failed", "failed"), ("oom", "failed")]
)  # fmt: skip
def test_without_figures_the_reason_is_kept(ending: TrialEnding, outcome: str) -> None:
    told = found(report(ending=ending, message="because"), figures(100))

    assert (told.outcome, told.reason, told.figures) == (outcome, "because", None)


def test_of_several_values_the_one_that_fits_and_then_the_smallest_is_taken() -> None:
    tried = [peaks(90, fits=False, settings="a"), peaks(120, settings="b"), peaks(110, settings="c")]

    told = effect_of_settings(CURE, tried, report(), figures(150), recorder="predicted")

    assert told.settings == "c"
    assert told.how == ("PYTORCH_CUDA_ALLOC_CONF=c",)


def test_what_acts_at_the_capacity_is_judged_there() -> None:
    about = Cure(name="garbage-collection", title="garbage_collection_threshold", at_capacity=True)

    before = figures(150, reserved_at_capacity_bytes=98 * MIB)

    told = effect_of_settings(about, [peaks(150, at_capacity=86)], report(), before, recorder="predicted")

    assert told.saved_reserved_bytes == 12 * MIB


ALL = [
    Cure(name="bf16", title="bf16", alters="rounding"),
    Cure(name="half", title="half", alters="training", family="batch"),
    Cure(name="accumulation", title="accumulation", family="batch"),
    Cure(name="foreach-off", title="foreach off", family="optimizer"),
    Cure(name="fused", title="fused", family="optimizer"),
    Cure(name="empty", title="empty"),
]


def test_what_goes_together_helps_leaves_the_training_alone_and_is_the_best_of_its_kind() -> None:
    effects = [
        effect("half", "half", 100), effect("bf16", "bf16", 300), effect("accumulation", "accumulation", 200),
        effect("foreach-off", "foreach off", 350), effect("fused", "fused", 340),
        effect("empty", "empty", 400, outcome="no effect"), effect("expandable-segments", "a setting", 300),
    ]  # fmt: skip

    assert going_together(effects, ALL) == ("bf16", "accumulation", "fused")


def test_the_order_is_that_of_what_is_saved_and_the_untried_come_last() -> None:
    untried = CureEffect(name="x", title="x", outcome="cannot help")

    names = [each.name for each in in_order([untried, effect("a", "a", 300), effect("b", "b", 100)])]

    assert names == ["b", "a", "x"]
