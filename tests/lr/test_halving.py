"""Confirming runs: their candidates, schedules and verdict, on runs made by hand."""

import math
from typing import Any, get_args

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from lrtool.config import Confirm
from lrtool.lr.halving import (
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
from lrtool.results import ConfirmingRun


def run(max_lr: float, final_loss: float | None, *, loss: tuple[float, ...] | None = None) -> ConfirmingRun:
    usual = (2.0, 1.0) if final_loss is None else (2.0, 1.0, *[final_loss] * 8)
    return ConfirmingRun(schedule="cyclic", max_lr=max_lr, loss=loss or usual, final_loss=final_loss)


def test_candidates_stand_half_a_decade_apart() -> None:
    assert candidates(0.1) == pytest.approx([0.01, 0.1 / math.sqrt(10), 0.1, 0.1 * math.sqrt(10)])
    assert len(candidates(0.1)) == ROUNDS[0][0]


def test_the_budget_is_that_of_the_rounds() -> None:
    assert [budget_steps(schedule) for schedule in get_args(Confirm)] == [0, 600, 600, 400]


def torchs_own(make: Any, num_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, lrs = make(optimizer), []
    for _ in range(num_steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return lrs


def test_the_cycle_is_one_triangle_of_cyclic_lr() -> None:
    theirs = torchs_own(lambda o: CyclicLR(o, base_lr=0.03, max_lr=0.3, step_size_up=30, cycle_momentum=False), 60)

    assert schedule_lrs("cyclic", 0.3, 60) == pytest.approx(theirs)


def test_one_cycle_is_that_of_one_cycle_lr() -> None:
    theirs = torchs_own(lambda o: OneCycleLR(o, max_lr=0.3, total_steps=101, cycle_momentum=False), 101)

    assert schedule_lrs("one-cycle", 0.3, 101) == pytest.approx(theirs)


def test_a_constant_lr_is_constant() -> None:
    assert schedule_lrs("constant", 0.3, 3) == [0.3] * 3


def test_the_tail_is_the_last_15_percent() -> None:
    assert tail_mean([9.0] * 34 + [2.0] * 3 + [4.0] * 3) == 3.0
    assert tail_mean([1.0, 3.0]) == 2.0
    assert tail_mean([1.0, math.nan, 1.0]) is None
    assert tail_mean([]) is None


def test_the_best_survive_from_low_to_high() -> None:
    runs = [run(0.1, 0.5), run(0.2, 0.1), run(0.4, None), run(0.8, 0.3)]

    assert survivors(runs, count=2) == [0.2, 0.8]
    assert winner(runs) == runs[1]
    assert winner([run(0.1, None)]) is None


def test_equal_runs_give_the_middle_of_the_plateau() -> None:
    assert verdict([run(0.01, 0.5), run(0.1, 0.5), run(1.0, 0.5)], initial_loss=2.0) == pytest.approx(0.1)


def test_a_clear_winner_draws_the_verdict_to_itself() -> None:
    found = verdict([run(0.01, 1.9), run(0.1, 0.5), run(1.0, 50.0)], initial_loss=2.0)

    assert found == pytest.approx(0.1, rel=0.02)


def test_a_run_that_diverged_has_no_say() -> None:
    assert verdict([run(0.1, 0.5), run(1.0, None)], initial_loss=2.0) == pytest.approx(0.1)


def test_there_is_no_verdict_where_nothing_was_learnt() -> None:
    assert verdict([run(0.1, None)], initial_loss=2.0) is None
    assert verdict([run(0.1, 2.0), run(0.2, 7.0)], initial_loss=2.0) is None


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("offset", [-100.0, 0.0, 7.0])
def test_neither_scale_nor_sign_of_the_loss_matters(scale: float, offset: float) -> None:
    """Regrets 1/3, 0 and 2/15 of the best descent weigh 0.189, 1 and 0.513."""
    losses = [1.0, 0.5, 0.7]
    runs = [run(lr, offset + scale * loss) for lr, loss in zip([0.1, 0.3, 1.0], losses, strict=True)]

    assert verdict(runs, initial_loss=offset + 2 * scale) == pytest.approx(0.3818, rel=1e-3)


def test_the_margin_is_paired_step_by_step() -> None:
    """Both losses jump by 5 from step to step, on the same batches; the difference is 1.0 give or take 0.1."""
    jumps = [0.0, 5.0] * 20
    first = run(0.1, 1.0, loss=tuple(jumps))
    second = run(0.2, 2.0, loss=tuple(jump + 1.0 + (0.1 if i % 2 else -0.1) for i, jump in enumerate(jumps)))
    found = compare([second, first, run(0.4, None)])

    assert found.margin == 1.0
    assert found.margin_over_noise == pytest.approx(1.0 / (0.1095 / math.sqrt(6)), rel=0.01)
    assert compare([first]).margin is None
