"""Which parameter groups take part in a ramp, and at which LR over the largest."""

from typing import Any

import pytest
import torch
from torch import nn

import lrtool
from lrtool.lr.source import group_ratios
from tests.workloads.good import build as good


def groups(*options: dict[str, Any], frozen: int | None = None) -> torch.optim.Optimizer:
    made = [{"params": [nn.Parameter(torch.zeros(1))], **each} for each in options]
    if frozen is not None:
        made[frozen]["params"][0].requires_grad_(False)
    return torch.optim.SGD(made, lr=0.1)


def test_a_scale_of_the_lr_counts() -> None:
    assert group_ratios(groups({"lr_scale": 0.25}, {"lr_scale": 0.5}, {})) == pytest.approx((0.25, 0.5, 1.0))


def test_a_scale_that_was_multiplied_in_does_not_count_twice() -> None:
    scaled = groups({"lr": 0.025, "lr_scale": 0.25}, {"lr": 0.1, "lr_scale": 1.0})

    assert group_ratios(scaled) == pytest.approx((0.25, 1.0))


def test_a_scale_counts_on_top_of_lrs_that_differ_for_another_reason() -> None:
    assert group_ratios(groups({"lr": 0.05, "lr_scale": 0.25}, {"lr": 0.1})) == pytest.approx((0.125, 1.0))


@pytest.mark.parametrize(
    ("optimizer", "ratios"),
    [
        (groups({"lr": 0.0}, {"lr": 0.1}), (0.0, 1.0)),
        (groups({"lr": 1.0}, {"lr": 0.1}, frozen=0), (0.0, 1.0)),
        (groups({"lr": 0.1}, {"lr": 0.01}, {"lr": 1.0}, frozen=2), (1.0, 0.1, 0.0)),
    ],
)
def test_a_group_that_does_not_train_keeps_out(optimizer: Any, ratios: tuple[float, ...]) -> None:
    assert group_ratios(optimizer) == pytest.approx(ratios)


def with_frozen() -> dict[str, Any]:
    setup = good()
    first, last = setup["model"][0], setup["model"][2]
    first.requires_grad_(False)
    made = [{"params": first.parameters(), "lr": 1.0}, {"params": last.parameters(), "lr": 0.1}]
    return {**setup, "optimizer": torch.optim.SGD(made)}


def test_the_lrs_shown_are_those_of_a_group_that_trains() -> None:
    found = lrtool.range_test(with_frozen, device="cpu")
    frozen, trained = found.param_groups

    assert frozen.max_lr is None
    assert trained.max_lr == found.max_lr
    assert found.schedule_line is not None
    assert "max_lr=[0, " in found.schedule_line


def with_a_head_that_no_loss_reaches() -> dict[str, Any]:
    setup = good()
    model = nn.ModuleDict({"body": setup["model"], "unused": nn.Linear(8, 8)})
    made = [{"params": model["unused"].parameters(), "lr": 1.0}, {"params": model["body"].parameters(), "lr": 0.1}]
    loss = setup["loss"]
    return {
        **setup,
        "model": model,
        "optimizer": torch.optim.SGD(made),
        "loss": lambda model, batch: loss(model["body"], batch),
    }


@pytest.mark.parametrize("confirm", ["off", "cyclic"])
def test_a_group_without_gradients_keeps_out(confirm: str) -> None:
    found = lrtool.range_test(with_a_head_that_no_loss_reaches, confirm=confirm, device="cpu")
    plain = lrtool.range_test(good, confirm=confirm, device="cpu")
    silent, trained = found.param_groups
    assert trained.max_lr is not None
    assert plain.max_lr is not None

    assert silent.max_lr is None
    assert trained.max_lr == found.max_lr
    assert plain.max_lr / 3 < trained.max_lr < plain.max_lr * 3
