"""A suggestion after its confirming runs: moved to where they point, with what they said. Pure."""

from dataclasses import replace

from lrtool.lr.intervals import Intervals
from lrtool.lr.rates import CONSTANT_OVER_MAX, Rates, from_max
from lrtool.lr.suggest import Suggestion, in_ratio
from lrtool.results import Confirmation, GroupRange, Interval
from lrtool.units import format_lr

CONFIRMED_RULE = "confirming runs around the landmarks' centre"
HALF_SPACING = 10**0.25
"""Candidates stand half a decade apart: which of two neighbours an LR belongs to is known to half of that."""


def confirmed(suggestion: Suggestion, confirmation: Confirmation, *, lr: float | None) -> Suggestion:
    """The suggestion after runs that stand for `lr` (max_lr of cycles, a constant LR of constant ones), None for none."""
    told = f"{suggestion.reason}; {what_they_said(confirmation)}"
    if confirmation.schedule == "super-convergence":
        return replace(suggestion, reason=told)
    if all(run.final_loss is None for run in confirmation.runs):
        return _refuted(suggestion)
    if lr is None:
        advice = "take more steps, --repeats 3, or check that the model learns at all"
        return replace(suggestion, confidence="low", reason=told, advice=advice)
    assert suggestion.landmarks is not None
    max_lr = lr if confirmation.schedule == "cyclic" else lr / CONSTANT_OVER_MAX
    found = from_max(max_lr, descent=suggestion.landmarks.descent)
    return replace(
        suggestion,
        groups=_moved(suggestion, found),
        rule=CONFIRMED_RULE,
        reason=told,
        rates=found,
        spread=_within_spacing(found),
    )


def what_they_said(confirmation: Confirmation) -> str:
    """The winner of the runs and its margin, as a clause."""
    best, lost = confirmation.winner, confirmation.margin_over_noise
    if best is None:
        return "no confirming run was finished"
    by = "" if lost is None else f" by {lost:.1f} times the noise"
    kind = "" if confirmation.schedule != "super-convergence" else f"{best.schedule} "
    return f"of {len(confirmation.runs)} confirming runs {kind}{format_lr(best.max_lr)} ended lowest{by}"


def _refuted(suggestion: Suggestion) -> Suggestion:
    empty = GroupRange(base_lr=None, max_lr=None, suggested_lr=None)
    return replace(
        suggestion,
        groups=tuple(empty for _ in suggestion.groups),
        confidence="none",
        reason="every confirming run diverged",
        advice="the model is not stable at any of them: lower --end-lr, clip gradients, or normalize the inputs",
        rates=None,
        spread=None,
    )


def _moved(suggestion: Suggestion, found: Rates) -> tuple[GroupRange, ...]:
    """Every group's LRs, in the ratio they had."""
    largest = max(group.max_lr or 0.0 for group in suggestion.groups)
    return in_ratio(found, [(group.max_lr or 0.0) / largest for group in suggestion.groups])


def _within_spacing(found: Rates) -> Intervals:
    def around(lr: float) -> Interval:
        return Interval(low=lr / HALF_SPACING, high=lr * HALF_SPACING)

    return Intervals(
        base_lr=around(found.base_lr), max_lr=around(found.max_lr), suggested_lr=around(found.suggested_lr)
    )
