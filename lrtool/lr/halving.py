"""Which short runs confirm a suggestion, and what they say: candidates, rounds, schedules and the verdict. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lrtool.config import Confirm
from lrtool.results import ConfirmingRun, ConfirmingSchedule

CANDIDATE_DECADES = (-1.0, -0.5, 0.0, 0.5)
ROUNDS = ((4, 60), (3, 120))
"""Runs and steps of each round of successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943)."""
ONE_CYCLE_STEPS = 200
TAIL_PART = 0.15
TOLERANCE = 0.2
BASE_OVER_MAX = 0.1
WARM_UP_PART = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How much better the best of some runs is than the second best, and that in standard errors; None where unknown."""

    margin: float | None
    margin_over_noise: float | None


def budget_steps(confirm: Confirm) -> int:
    """The most steps that confirming runs take."""
    if confirm == "off":
        return 0
    return 2 * ONE_CYCLE_STEPS if confirm == "super-convergence" else sum(runs * steps for runs, steps in ROUNDS)


def candidates(centre: float) -> list[float]:
    """LRs to try around `centre`, half a decade apart, rather too low than too high: what is too high does not return."""
    return [centre * 10**decades for decades in CANDIDATE_DECADES]


def schedule_lrs(schedule: ConfirmingSchedule, max_lr: float, num_steps: int) -> list[float]:
    """The LR of every step: constant, one triangle from a tenth of max_lr and back (CyclicLR), or OneCycleLR's cosine."""
    if schedule == "constant":
        return [max_lr] * num_steps
    if schedule == "cyclic":
        half = num_steps / 2
        return [max_lr * (BASE_OVER_MAX + (1 - BASE_OVER_MAX) * (1 - abs(i / half - 1))) for i in range(num_steps)]
    peak = WARM_UP_PART * num_steps - 1
    return [max_lr * _one_cycle(i, peak, num_steps - 1) for i in range(num_steps)]


def _one_cycle(step: int, peak: float, last: int) -> float:
    """OneCycleLR with its defaults, as a part of max_lr: up from 1/25, down to 1/250,000 (Smith and Topin 2017)."""
    begin, end, part = (1 / 25, 1.0, step / peak) if step <= peak else (1.0, 4e-6, (step - peak) / (last - peak))
    return end + (begin - end) * (1 + math.cos(math.pi * part)) / 2


def tail_mean(losses: Sequence[float]) -> float | None:
    """The mean of the last losses, where the LR of a cycle is low again; None where any loss is not finite."""
    if not losses or not all(map(math.isfinite, losses)):
        return None
    return float(np.mean(losses[-_tail_length(len(losses)) :]))


def survivors(runs: Sequence[ConfirmingRun], *, count: int) -> list[float]:
    """The max_lr of the `count` best runs that did not diverge, from low to high."""
    return sorted(run.max_lr for run in _from_best(runs)[:count])


def verdict(runs: Sequence[ConfirmingRun], *, initial_loss: float) -> float | None:
    """The LR that the last round of runs stands for; None where each of them diverged or ended no lower than it began.

    The geometric mean of the candidates, each weighed by exp(-regret / TOLERANCE), its regret being the part of the best
    run's descent that it missed: the middle of a plateau rather than its edge, because a short run forgives an LR that a
    long one does not.
    """
    best = next((run.final_loss for run in _from_best(runs)), None)
    if best is None or best >= initial_loss:
        return None
    finished = [(run.max_lr, run.final_loss) for run in runs if run.final_loss is not None]
    weights = [math.exp(-min((loss - best) / (initial_loss - best), 1.0) / TOLERANCE) for _, loss in finished]
    return math.exp(
        math.fsum(w * math.log(lr) for w, (lr, _) in zip(weights, finished, strict=True)) / math.fsum(weights)
    )


def winner(runs: Sequence[ConfirmingRun]) -> ConfirmingRun | None:
    """The run with the lowest final loss; None where all diverged."""
    return next(iter(_from_best(runs)), None)


def compare(runs: Sequence[ConfirmingRun], *, judged_by: Literal["train", "val"] = "train") -> Comparison:
    """The winner against the second best, over what judged them: the steps of their tails, or the validation batches.

    Both saw the same ones, so their differences are free of what makes one batch harder than another.
    """
    ranked = _from_best(runs)[:2]
    if len(ranked) < 2:
        return Comparison(margin=None, margin_over_noise=None)
    first, second = (run.final_loss for run in ranked)
    assert first is not None
    assert second is not None
    lines = [run.loss if judged_by == "train" else run.val_loss for run in ranked]
    count = min(map(len, lines))
    length = _tail_length(count) if judged_by == "train" else count
    if length < 2:
        return Comparison(margin=second - first, margin_over_noise=None)
    differences = np.subtract(lines[1][-length:], lines[0][-length:])
    error = float(np.std(differences, ddof=1)) / math.sqrt(length)
    return Comparison(
        margin=second - first, margin_over_noise=float(np.mean(differences)) / error if error > 0 else None
    )


def _from_best(runs: Sequence[ConfirmingRun]) -> list[ConfirmingRun]:
    finished = [(run.final_loss, i, run) for i, run in enumerate(runs) if run.final_loss is not None]
    return [run for _, _, run in sorted(finished, key=lambda entry: entry[:2])]


def _tail_length(count: int) -> int:
    return min(count, max(5, round(TAIL_PART * count)))
