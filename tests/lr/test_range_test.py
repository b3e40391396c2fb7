"""The Python API: a target, a factory or live objects."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lrtool
from lrtool.lr.measure import Progress, run_ramp, set_lr
from lrtool.lr.source import group_ratios

WorkloadFile = Callable[[str], Path]


def build(**changes: Any) -> dict[str, Any]:
    from tests.workloads.good import build as good

    setup: dict[str, Any] = good()
    return setup | changes


def test_a_factory_is_measured() -> None:
    found = lrtool.range_test(build, num_steps=60)

    assert found.max_lr is not None
    assert found.base_lr is not None
    assert found.base_lr < found.max_lr
    assert found.curve.lr[0] == pytest.approx(1e-7)
    assert found.num_steps == len(found.curve.loss)


def test_a_target_is_measured_with_its_params(workload_file: WorkloadFile) -> None:
    found = lrtool.range_test(str(workload_file("good")), num_steps=20, params={"batch_size": 128})

    assert found.steps_per_epoch == 4


def test_a_factory_and_the_same_live_objects_give_the_same_curve() -> None:
    factory = lrtool.range_test(build, num_steps=30, seed=3)
    torch.manual_seed(3)
    live = lrtool.range_test(build(), num_steps=30, seed=3)

    assert live.curve == factory.curve


def test_live_objects_can_be_a_workload() -> None:
    found = lrtool.range_test(lrtool.Workload(**build()), num_steps=20, repeats=2)

    assert found.target == "live objects"
    assert len(found.repeats) == 2


def test_progress_is_told_over_all_repeats() -> None:
    seen: list[Progress] = []
    lrtool.range_test(build, num_steps=60, repeats=2, end_lr=1e-3, on_progress=seen.append)

    assert seen[-1].num_steps == 120
    assert [p.step for p in seen] == sorted(p.step for p in seen)
    assert seen[-1].step > 60
    assert all(p.best_loss <= p.loss for p in seen)


@pytest.mark.parametrize(
    "wrong", [{"num_steps": 11}, {"start_lr": 0.0}, {"start_lr": float("nan")}, {"mode": "log"}, {"start_lr": 20.0}]
)
def test_settings_are_checked_as_on_the_command_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(lrtool.UsageError):
        lrtool.range_test(build, **wrong)


def test_what_the_users_code_raises_is_the_cause_of_the_error() -> None:
    def bad_loss(model: nn.Module, batch: Any) -> Any:
        raise KeyError("labels")

    with pytest.raises(lrtool.WorkloadError, match="KeyError") as caught:
        lrtool.range_test(lambda: build(loss=bad_loss))

    assert isinstance(caught.value.__cause__, KeyError)


def test_steps_after_divergence_are_dropped_however_late_they_are_noticed() -> None:
    losses = iter([2.3 + 0.01 * (i % 3) for i in range(40)] + [1e3, 1e4, 1e5, 1e6] + [1e9] * 100)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    ramp = run_ramp(
        lambda: torch.tensor(next(losses)), optimizer, lrs=[0.1] * 100, ratios=[1.0], on_progress=lambda p: None
    )

    assert ramp.stop.kind == "diverged"
    assert len(ramp.losses) == ramp.stop.num_points == 53


def test_group_ratios_are_those_before_a_warm_up() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.01, 0.1)]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 100)

    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    assert group_ratios(optimizer) == pytest.approx((0.1, 1.0))


def test_groups_that_all_have_lr_zero_share_the_ramp() -> None:
    assert group_ratios(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.0)) == (1.0,)


def test_an_lr_kept_as_a_tensor_stays_that_tensor() -> None:
    lr = torch.tensor(0.1)
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=lr, capturable=False, foreach=False)
    set_lr(optimizer, 0.5, [1.0])

    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == 0.5
