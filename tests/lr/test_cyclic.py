"""The lines of code that set a schedule up."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from lrtool.lr.cyclic import one_cycle_line, schedule_line, step_size_up
from lrtool.results import GroupRange

ONE = GroupRange(base_lr=0.00123456, max_lr=0.3, suggested_lr=0.1)
TWO = GroupRange(base_lr=1e-5, max_lr=0.003, suggested_lr=0.001)
NONE = GroupRange(base_lr=None, max_lr=None, suggested_lr=None)


@pytest.mark.parametrize(("steps_per_epoch", "steps"), [(23, 92), (1, 4), (None, None)])
def test_half_a_cycle_is_four_epochs(steps_per_epoch: int | None, steps: int | None) -> None:
    assert step_size_up(steps_per_epoch) == steps


def test_one_group() -> None:
    line = schedule_line([ONE], step_size_up=92)

    assert line == "CyclicLR(optimizer, base_lr=0.00123, max_lr=0.3, step_size_up=92, cycle_momentum=False)"


def test_several_groups_become_lists_and_equal_ones_a_number() -> None:
    line = schedule_line([ONE, TWO], step_size_up=None)

    assert line == "CyclicLR(optimizer, base_lr=[0.00123, 1e-05], max_lr=[0.3, 0.003], cycle_momentum=False)"
    assert schedule_line([TWO, TWO], step_size_up=None) == schedule_line([TWO], step_size_up=None)


def test_one_cycle_asks_for_the_length_that_only_the_user_knows() -> None:
    known, unknown = one_cycle_line([ONE], steps_per_epoch=23), one_cycle_line([ONE], steps_per_epoch=None)

    assert known == "OneCycleLR(optimizer, max_lr=0.3, epochs=num_epochs, steps_per_epoch=23, cycle_momentum=False)"
    assert unknown == "OneCycleLR(optimizer, max_lr=0.3, total_steps=num_steps, cycle_momentum=False)"


def test_without_a_suggestion_there_is_no_line() -> None:
    assert schedule_line([NONE, NONE], step_size_up=92) is None
    assert one_cycle_line([NONE, NONE], steps_per_epoch=23) is None


def momentum_of(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [{name: group[name] for name in ("momentum", "betas") if name in group} for group in optimizer.param_groups]


def optimizers() -> list[torch.optim.Optimizer]:
    def parameters() -> Any:
        return [nn.Parameter(torch.zeros(1))]

    groups: list[dict[str, Any]] = [{"params": parameters(), "momentum": 0.5}, {"params": parameters()}]
    return [
        torch.optim.SGD(parameters(), lr=0.1, momentum=0.99),
        torch.optim.SGD(parameters(), lr=0.1),
        torch.optim.SGD(groups, lr=0.1, momentum=0.99),
        torch.optim.Adam(parameters(), betas=(0.5, 0.999)),
        torch.optim.RMSprop(parameters(), momentum=0.3),
        torch.optim.Adagrad(parameters()),
    ]


@pytest.mark.parametrize("optimizer", optimizers(), ids=lambda optimizer: type(optimizer).__name__)
@pytest.mark.parametrize("schedule", ["cyclic", "one cycle"])
def test_momentum_is_what_it_was_at_every_step(schedule: str, optimizer: torch.optim.Optimizer) -> None:
    before = momentum_of(optimizer)
    line = schedule_line([ONE], step_size_up=4) if schedule == "cyclic" else one_cycle_line([ONE], steps_per_epoch=5)
    assert line is not None
    scheduler = eval(line, {"CyclicLR": CyclicLR, "OneCycleLR": OneCycleLR, "optimizer": optimizer, "num_epochs": 4})
    seen, lrs = [], []
    for _ in range(16):
        seen.append(momentum_of(optimizer))
        lrs.append(optimizer.param_groups[-1]["lr"])
        optimizer.step()
        scheduler.step()

    assert all(each == before for each in seen)
    assert max(lrs) == pytest.approx(0.3)


def test_a_group_that_keeps_out_stands_in_the_lists_with_zero() -> None:
    line = schedule_line([ONE, NONE], step_size_up=92)

    assert line is not None
    assert line.count(", 0]") == 2
