"""Confirming runs on a small real workload: what they take, what they leave as it was, and what they change."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrtool
from lrtool.lr.confirm import confirmed
from lrtool.lr.curve.suggest import suggest
from lrtool.lr.halving import candidates, compare
from lrtool.results import Confirmation, ConfirmingRun, RangeTest
from tests.lr.curve.test_suggest import curve
from tests.workloads.good import build as good

STEPS = 60


def confirm(setup: Any = good, **options: Any) -> tuple[RangeTest, Confirmation]:
    asked: dict[str, Any] = {"num_steps": STEPS, "confirm": "cyclic", "device": "cpu"} | options
    found = lrtool.range_test(setup, **asked)
    assert found.confirmation is not None
    return found, found.confirmation


def with_val(**changes: Any) -> dict[str, Any]:
    setup: dict[str, Any] = good()
    return setup | {"val_loader": list(setup["train_loader"])[:2]} | changes


def test_the_worst_candidate_is_dropped_and_the_rest_go_on_for_longer() -> None:
    found, told = confirm()
    centre = lrtool.range_test(good, num_steps=STEPS, device="cpu").max_lr
    assert centre is not None
    first, second = told.runs[:4], told.runs[4:]

    assert [run.max_lr for run in first] == pytest.approx(candidates(centre))
    assert [len(run.loss) for run in told.runs] == [60] * 4 + [120] * 3
    worst = max(first, key=lambda run: run.final_loss or math.inf)
    assert {run.max_lr for run in second} == {run.max_lr for run in first} - {worst.max_lr}
    assert told.num_steps == told.budget_steps == 600
    assert found.num_steps == STEPS + 600


def test_the_winner_is_the_run_that_ends_lowest_and_the_suggestion_lies_among_the_runs() -> None:
    found, told = confirm()
    longest = told.runs[4:]
    assert told.winner is not None
    assert found.max_lr is not None

    assert told.winner.final_loss == min(run.final_loss for run in longest if run.final_loss is not None)
    assert min(run.max_lr for run in longest) <= found.max_lr <= max(run.max_lr for run in longest)
    assert "confirming runs" in found.reason
    assert found.rule.startswith("confirming runs")


def test_every_run_begins_at_the_same_weights_with_the_same_batch() -> None:
    _, told = confirm()

    assert len({run.loss[0] for run in told.runs}) == 1


def test_constant_runs_judge_the_constant_lr() -> None:
    found, told = confirm(confirm="constant")
    plain = lrtool.range_test(good, num_steps=STEPS, device="cpu")
    assert plain.suggested_lr is not None
    assert found.max_lr is not None

    assert {run.schedule for run in told.runs} == {"constant"}
    assert [run.max_lr for run in told.runs[:4]] == pytest.approx(candidates(plain.suggested_lr))
    assert found.suggested_lr == pytest.approx(0.4 * found.max_lr)


def test_super_convergence_compares_and_changes_nothing() -> None:
    found, told = confirm(confirm="super-convergence")
    plain = lrtool.range_test(good, num_steps=STEPS, device="cpu")

    assert [(run.schedule, len(run.loss)) for run in told.runs] == [("one-cycle", 200), ("constant", 200)]
    assert [run.max_lr for run in told.runs] == [plain.max_lr, plain.suggested_lr]
    assert found.max_lr == plain.max_lr


def test_the_validation_loss_can_judge() -> None:
    found, told = confirm(with_val, confirm_loss="val")

    assert told.judged_by == "val"
    assert found.max_lr is not None
    assert all(run.final_loss != pytest.approx(run.loss[-1]) for run in told.runs)


def test_without_a_val_loader_that_is_told_and_the_ramp_is_kept() -> None:
    with pytest.raises(lrtool.WorkloadError, match="no val_loader"):
        confirm(confirm_loss="val")


def test_live_objects_are_put_back_and_give_the_same_as_a_factory() -> None:
    torch.manual_seed(0)
    live = with_val()
    weights = [parameter.detach().clone() for parameter in live["model"].parameters()]
    found, _ = confirm(live, confirm_loss="val")

    assert found.max_lr == confirm(with_val, confirm_loss="val")[0].max_lr
    assert all(torch.equal(p, before) for p, before in zip(live["model"].parameters(), weights, strict=True))


def test_modes_are_put_back_after_validation() -> None:
    """A batch norm that the user froze must not be thawed by the look at the validation loss."""
    setup = with_val(model=nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 1)))
    setup["optimizer"] = torch.optim.SGD(setup["model"].parameters(), lr=0.1)
    setup["model"][0].eval()
    confirm(setup, confirm_loss="val")

    assert [module.training for module in setup["model"]] == [False, True]


def test_an_error_in_a_run_is_raised_as_in_a_ramp() -> None:
    def fails_later() -> Iterator[None]:
        yield from [None] * (STEPS + 30)
        raise RuntimeError("the disk is gone")

    calls = fails_later()

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        next(calls)
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    with pytest.raises(lrtool.WorkloadError, match="the disk is gone"):
        confirm(lambda: {**good(), "loss": loss})


def told_of(runs: tuple[ConfirmingRun, ...], **changes: Any) -> Confirmation:
    plain = Confirmation(
        schedule="cyclic", judged_by="train", budget_steps=600, num_steps=600, runs=runs, winner=None, margin=None,
        margin_over_noise=None,
    )  # fmt: skip
    return replace(plain, **changes)


def run_at(
    lr: float, final: float, *, loss: tuple[float, ...] = (2.0, 1.0), val: tuple[float, ...] = ()
) -> ConfirmingRun:
    return ConfirmingRun(schedule="cyclic", max_lr=lr, loss=loss, final_loss=final, val_loss=val)


def test_the_margin_of_the_validation_loss_is_told_in_its_own_noise() -> None:
    """By training losses the second run is far ahead; by validation batches it is behind by 0.4, 0.5 and 0.6."""
    first = run_at(0.1, 1.0, loss=(5.0,) * 60, val=(0.9, 1.0, 1.1))
    second = run_at(0.3, 1.5, loss=tuple(0.01 * (i % 3) for i in range(60)), val=(1.3, 1.5, 1.7))
    told = compare([first, second], judged_by="val")

    assert told.margin == pytest.approx(0.5)
    assert told.margin_over_noise == pytest.approx(0.5 / (0.1 / 3**0.5))


def test_one_validation_batch_has_no_noise_to_tell() -> None:
    told = compare([run_at(0.1, 1.0, val=(1.0,)), run_at(0.3, 1.5, val=(1.5,))], judged_by="val")

    assert told.margin == pytest.approx(0.5)
    assert told.margin_over_noise is None


def test_validation_batches_are_kept_with_the_run() -> None:
    found, told = confirm(with_val, confirm_loss="val")

    assert all(len(run.val_loss) == 2 for run in told.runs)
    assert all(run.final_loss == pytest.approx(sum(run.val_loss) / 2) for run in told.runs)
    assert told.margin_over_noise is None or told.margin_over_noise > 0
    assert "noise of the validation loss" in found.reason or told.margin_over_noise is None


@pytest.mark.parametrize(("winner", "which", "beyond"), [(0.32, "highest", "1.01"), (0.01, "lowest", "0.00316")])
def test_a_winner_at_the_edge_is_called_one(winner: float, which: str, beyond: str) -> None:
    runs = tuple(run_at(lr, abs(lr - winner)) for lr in (0.01, 0.032, 0.1, 0.32))
    best = next(run for run in runs if run.max_lr == winner)
    found = confirmed(suggest([curve()]), told_of(runs, winner=best, margin=0.1, margin_over_noise=9.0), lr=winner)

    assert f"the {which} LR tried" in found.reason
    assert found.advice is not None
    assert beyond in found.advice
    assert found.confidence == "medium"


@pytest.mark.parametrize(("clear", "advice"), [(9.0, None), (0.5, "the best runs hardly differ")])
def test_what_was_just_done_is_not_advised_again(clear: float, advice: str | None) -> None:
    noisy = replace(suggest([curve()]), advice="the curve is noisy: take more steps, --repeats 3, or --confirm")
    runs = tuple(run_at(lr, abs(lr - 0.1)) for lr in (0.01, 0.032, 0.1, 0.32))
    found = confirmed(noisy, told_of(runs, winner=runs[2], margin=0.1, margin_over_noise=clear), lr=0.1)

    assert found.advice is None if advice is None else advice in (found.advice or "")


def test_equal_runs_at_different_lrs_prove_that_the_lr_is_not_in_force() -> None:
    losses = tuple(2.0 - 0.01 * i for i in range(60))
    runs = tuple(run_at(lr, 1.4, loss=losses) for lr in (0.1, 0.3))
    found = confirmed(suggest([curve()]), told_of(runs, winner=runs[0]), lr=0.1)

    assert found.confidence == "none"
    assert "not in force" in found.reason


def test_where_every_run_diverges_nothing_is_suggested() -> None:
    run = ConfirmingRun(schedule="cyclic", max_lr=0.1, loss=(2.0, 9.0), final_loss=None)
    found = confirmed(suggest([curve()], group_ratios=(1.0, 0.1)), told_of((run, run)), lr=None)

    assert (found.confidence, found.reason) == ("none", "every confirming run diverged")
    assert [group.max_lr for group in found.groups] == [None, None]


def test_where_no_run_learns_the_suggestion_stays_and_is_not_trusted() -> None:
    suggestion = suggest([curve()])
    run = ConfirmingRun(schedule="cyclic", max_lr=0.1, loss=(2.0, 2.0), final_loss=2.0)
    found = confirmed(suggestion, told_of((run,)), lr=None)

    assert (found.confidence, found.groups) == ("low", suggestion.groups)


def test_groups_keep_their_ratio_where_the_runs_move_the_suggestion() -> None:
    run = ConfirmingRun(schedule="cyclic", max_lr=0.5, loss=(2.0, 0.1), final_loss=0.1)
    found = confirmed(suggest([curve()], group_ratios=(1.0, 0.1)), told_of((run,)), lr=0.5)
    one, tenth = found.groups

    assert one.max_lr == pytest.approx(0.5)
    assert tenth.max_lr == pytest.approx(0.05)
    assert found.spread is not None
    assert (found.spread.max_lr.low, found.spread.max_lr.high) == pytest.approx((0.5 / 10**0.25, 0.5 * 10**0.25))
