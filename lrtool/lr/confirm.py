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
from lrtool.lr.curve.landmarks import initial_level
from lrtool.lr.curve.rates import CONSTANT_OVER_MAX, Rates, from_max
from lrtool.lr.curve.suggest import Suggestion, moved_to, none_of
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
from lrtool.results import Confirmation, ConfirmingRun, ConfirmingSchedule
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
            val: tuple[float, ...] = ()
            if final is not None and self.judged_by == "val":
                val = val_losses(start.workload, self.source.device)
                final = mean_of(val)
        run = ConfirmingRun(
            schedule=schedule, max_lr=max_lr, loss=finite_part(losses), final_loss=final, val_loss=finite_part(val)
        )
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
                runs.initial_loss = float(np.mean(val_losses(start.workload, source.device)))
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
    difference = compare(runs.last_round, judged_by=runs.judged_by)
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


def mean_of(losses: Sequence[float]) -> float | None:
    """The mean of losses; None where one is not finite."""
    return float(np.mean(losses)) if all(map(math.isfinite, losses)) else None


def val_losses(workload: Workload, device: torch.device) -> tuple[float, ...]:
    """The losses of the first MOST_VAL_BATCHES of the validation loader, in eval mode; modes are put back.

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
        return tuple(torch.stack([loss.reshape(()).double() for loss in losses]).tolist())


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
CLEAR_MARGIN = 2.0


def confirmed(suggestion: Suggestion, confirmation: Confirmation, *, lr: float | None) -> Suggestion:
    """The suggestion after runs that stand for `lr` (max_lr of cycles, a constant LR of constant ones), None for none."""
    told, runs = f"{suggestion.reason}; {what_they_said(confirmation)}", confirmation.runs
    twins = same_runs(runs)
    if twins is not None:
        return not_in_force(suggestion, *twins)
    if confirmation.schedule == "super-convergence":
        return replace(suggestion, reason=told)
    if all(run.final_loss is None for run in runs):
        advice = "the model is not stable at any of them: lower --end-lr, clip gradients, or normalize the inputs"
        return none_of(suggestion, reason="every confirming run diverged", advice=advice)
    if lr is None:
        more = "more steps (--num-steps 800)" if len(suggestion.repeats) >= 3 else "more steps, --repeats 3"
        advice = f"take {more}, or check that the model learns at all"
        return replace(suggestion, confidence="low", reason=told, advice=advice)
    assert suggestion.landmarks is not None
    max_lr = lr if confirmation.schedule == "cyclic" else lr / CONSTANT_OVER_MAX
    found = from_max(max_lr, descent=suggestion.landmarks.descent)
    return _with_advice(moved_to(suggestion, found, rule=CONFIRMED_RULE, reason=told), confirmation)


def _with_advice(suggestion: Suggestion, confirmation: Confirmation) -> Suggestion:
    """What is left to do after the runs: not to run them once more."""
    edge = edge_of(confirmation)
    if edge is not None:
        advice = (
            f"the best run has the {edge[0]} LR tried: train a little at {format_lr(edge[1])} to see whether it goes on"
        )
        confidence = "medium" if suggestion.confidence == "high" else suggestion.confidence
        return replace(suggestion, confidence=confidence, advice=advice)
    if suggestion.advice is None or "--confirm" not in suggestion.advice:
        return suggestion
    margin = confirmation.margin_over_noise
    is_clear = margin is not None and margin >= CLEAR_MARGIN
    return replace(suggestion, advice=None if is_clear else "the best runs hardly differ: any of their LRs will do")


def what_they_said(confirmation: Confirmation) -> str:
    """The winner of the runs and its margin, as a clause."""
    best, lost = confirmation.winner, confirmation.margin_over_noise
    if best is None:
        return "no confirming run was finished"
    noise = "the noise" if confirmation.judged_by == "train" else "the noise of the validation loss"
    by = "" if lost is None else f" by {lost:.1f} times {noise}"
    kind = "" if confirmation.schedule != "super-convergence" else f"{best.schedule} "
    edge = edge_of(confirmation)
    where = "" if edge is None else f", the {edge[0]} LR tried,"
    return f"of {len(confirmation.runs)} confirming runs {kind}{format_lr(best.max_lr)}{where} ended lowest{by}"


def edge_of(confirmation: Confirmation) -> tuple[str, float] | None:
    """Whether the winner is the "highest" or "lowest" of all LRs tried, and the LR half a decade beyond; None for neither."""
    best, lrs = confirmation.winner, {run.max_lr for run in confirmation.runs}
    if best is None or confirmation.schedule == "super-convergence" or len(lrs) < 2:
        return None
    if best.max_lr == max(lrs):
        return "highest", best.max_lr * 10**0.5
    return ("lowest", best.max_lr / 10**0.5) if best.max_lr == min(lrs) else None


def same_runs(runs: Sequence[ConfirmingRun]) -> tuple[float, float] | None:
    """The LRs of two runs whose losses are the same to the last bit; None where there are none."""
    for index, run in enumerate(runs):
        for other in runs[index + 1 :]:
            if run.max_lr != other.max_lr and are_the_same(run.loss, other.loss):
                return run.max_lr, other.max_lr
    return None


FEWEST_EQUAL = 5


def are_the_same(losses: Sequence[float], others: Sequence[float]) -> bool:
    """Whether two runs at different LRs have the same losses to the last bit, which no LR in force would leave so."""
    count = min(len(losses), len(others))
    return count >= FEWEST_EQUAL and len(set(losses[:count])) > 1 and list(losses[:count]) == list(others[:count])


def not_in_force(suggestion: Suggestion, lr: float, other: float) -> Suggestion:
    """No suggestion: two runs at different LRs had the same losses."""
    return none_of(
        suggestion,
        reason=f"the learning rate is not in force: at {format_lr(lr)} the losses are the same to the last bit as at "
        f"{format_lr(other)}",
        advice="look for an optimizer or a step that finds an LR of its own",
    )
