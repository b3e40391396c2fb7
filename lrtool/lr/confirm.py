"""Confirm a suggestion: short training runs from the same initial weights and on the same batches, at several LRs."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lrtool.config import Confirm, RangeTestSettings
from lrtool.errors import WorkloadError
from lrtool.lr.curve.confidence import Intervals
from lrtool.lr.curve.landmarks import initial_level
from lrtool.lr.curve.rates import CONSTANT_OVER_MAX, Rates, from_max
from lrtool.lr.curve.suggest import Suggestion, in_ratio
from lrtool.lr.halving import (
    ONE_CYCLE_STEPS,
    ROUNDS,
    budget_steps,
    candidates,
    compare,
    schedule_lrs,
    survivors,
    tail_mean,
    verdict,
    winner,
)
from lrtool.lr.measure import OnProgress, Progress, set_lr
from lrtool.lr.source import Ready, Source, ready
from lrtool.results import Confirmation, ConfirmingRun, ConfirmingSchedule, GroupRange, Interval
from lrtool.units import format_lr
from lrtool.workload.batches import Batches, batch_source
from lrtool.workload.step import compute_loss
from lrtool.workload.workload import Workload, loader_length

MOST_VAL_BATCHES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """What came of the confirming runs: the LR they stand for, None where they stand for none; `error` cut them short."""

    confirmation: Confirmation
    lr: float | None
    duration_s: float
    error: BaseException | None = None


@dataclass(kw_only=True, slots=True)
class Runs:
    """Runs as they are made: where from, how judged, and what was spent; `last_round` is what the verdict rests on."""

    source: Source
    seed: int
    judged_by: Literal["train", "val"]
    on_progress: OnProgress
    budget_steps: int
    initial_loss: float
    done: list[ConfirmingRun] = field(default_factory=list)
    last_round: list[ConfirmingRun] = field(default_factory=list)
    num_steps: int = 0

    def add(self, schedule: ConfirmingSchedule, max_lr: float, num_steps: int) -> ConfirmingRun:
        """One run from the initial weights."""
        with ready(self.source, seed=self.seed) as start:
            losses = self._losses(start, schedule_lrs(schedule, max_lr, num_steps))
            self.num_steps += len(losses)
            final = tail_mean(losses)
            if final is not None and self.judged_by == "val":
                final = val_loss(start.workload, self.source.device)
        run = ConfirmingRun(schedule=schedule, max_lr=max_lr, loss=finite_part(losses), final_loss=final)
        self.done.append(run)
        return run

    def _losses(self, start: Ready, lrs: Sequence[float]) -> list[float]:
        """Training losses at `lrs`, looked at now and then; those after the first that is not finite may be missing."""
        losses: list[float] = []
        pending: list[Tensor] = []
        reader = start.loss_reader()
        for lr in lrs:
            set_lr(start.workload.optimizer, lr, start.setup.group_ratios)
            pending.append(start.step())
            if reader.are_due(len(pending)):
                losses += reader.read(pending)
                self._report(len(losses), lr, losses)
                if not all(map(math.isfinite, losses)):
                    return losses
        return losses + (reader.read(pending) if pending else [])

    def _report(self, step: int, lr: float, losses: list[float]) -> None:
        done = min(self.num_steps + step, self.budget_steps)
        self.on_progress(
            Progress(step=done, num_steps=self.budget_steps, lr=lr, loss=losses[-1], best_loss=min(losses))
        )


def confirm(
    source: Source, suggestion: Suggestion, *, settings: RangeTestSettings, seed: int, on_progress: OnProgress
) -> Confirmed:
    """Try LRs around the suggestion as `settings` ask; what was run before an error or Ctrl-C is kept."""
    begin = time.perf_counter()
    assert suggestion.rates is not None
    runs = Runs(
        source=source,
        seed=seed,
        judged_by=settings.confirm_loss,
        on_progress=on_progress,
        budget_steps=budget_steps(settings.confirm),
        initial_loss=initial_level(np.asarray(suggestion.curve.smoothed_loss)),
    )
    error: BaseException | None = None
    try:
        if runs.judged_by == "val":
            with ready(source, seed=seed) as start:
                runs.initial_loss = val_loss(start.workload, source.device)
        _RUNS[settings.confirm](runs, suggestion.rates)
    except BaseException as raised:
        error = raised
    return _concluded(runs, settings.confirm, error, duration_s=time.perf_counter() - begin)


def halve(runs: Runs, schedule: ConfirmingSchedule, centre: float) -> None:
    """Successive halving: every candidate briefly, the better ones for longer, each from the beginning."""
    lrs = candidates(centre)
    for count, num_steps in ROUNDS:
        lrs = lrs[:count] if not runs.last_round else survivors(runs.last_round, count=count)
        runs.last_round = [runs.add(schedule, lr, num_steps) for lr in lrs]


def one_cycle(runs: Runs, found: Rates) -> None:
    """One cycle up to max_lr against the constant LR, as long as each other (Smith and Topin 2017, arXiv:1708.07120)."""
    runs.last_round = [
        runs.add("one-cycle", found.max_lr, ONE_CYCLE_STEPS),
        runs.add("constant", found.suggested_lr, ONE_CYCLE_STEPS),
    ]


_RUNS: dict[str, Callable[[Runs, Rates], None]] = {
    "cyclic": lambda runs, found: halve(runs, "cyclic", found.max_lr),
    "constant": lambda runs, found: halve(runs, "constant", found.suggested_lr),
    "super-convergence": one_cycle,
}


def _concluded(runs: Runs, asked: Confirm, error: BaseException | None, *, duration_s: float) -> Confirmed:
    assert asked != "off"
    difference = compare(runs.last_round)
    is_choice = asked != "super-convergence" and error is None
    return Confirmed(
        confirmation=Confirmation(
            schedule=asked,
            judged_by=runs.judged_by,
            budget_steps=runs.budget_steps,
            num_steps=runs.num_steps,
            runs=tuple(runs.done),
            winner=winner(runs.last_round),
            margin=difference.margin,
            margin_over_noise=difference.margin_over_noise,
        ),
        lr=verdict(runs.last_round, initial_loss=runs.initial_loss) if is_choice else None,
        duration_s=duration_s,
        error=error,
    )


def finite_part(losses: Sequence[float]) -> tuple[float, ...]:
    """Losses up to the first that is not finite."""
    return tuple(takewhile(math.isfinite, losses))


def val_loss(workload: Workload, device: torch.device) -> float:
    """The mean loss over the first MOST_VAL_BATCHES of the validation loader, in eval mode; modes are put back.

    Raises WorkloadError where the workload has no val_loader, or takes its own training step and has no loss.
    """
    if workload.val_loader is None or (workload.step is not None and workload.loss is None):
        raise WorkloadError(
            "the validation loss is to judge, and the workload has no val_loader with a loss",
            hint='add "val_loader" (and "loss") to what build() returns, or use --confirm-loss train',
        )
    count = min(loader_length(workload.val_loader) or MOST_VAL_BATCHES, MOST_VAL_BATCHES)
    next_batch = batch_source(workload, device, Batches(workload.val_loader))
    loss_of = compute_loss(workload, device)
    with _evaluating(workload), torch.no_grad():
        losses = [loss_of(next_batch()) for _ in range(count)]
        return float(torch.stack([loss.reshape(()).double() for loss in losses]).mean())


@contextmanager
def _evaluating(workload: Workload) -> Iterator[None]:
    modes = [(module, module.training) for module in workload.model.modules()]
    workload.model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


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
