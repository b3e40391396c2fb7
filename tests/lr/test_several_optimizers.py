"""Of several optimizers one is ramped and judged by its own loss, and the others train on at the LRs they were given."""

import copy
from typing import Any

import pytest
import torch

from lrtool import range_test
from lrtool.errors import UsageError, WorkloadError
from lrtool.lr.source import find_source, ready
from lrtool.results import RangeTest
from lrtool.workload.optimizers.several import Optimizers
from tests import WORKLOADS
from tests.workloads.gan import OWN_LR

GAN = str(WORKLOADS / "gan.py")
MODULE = f"{WORKLOADS / 'lightning_module.py'}:Gan"


def found_for(target: Any = GAN, *, optimizer: str | None = None, **params: Any) -> RangeTest:
    return range_test(target, optimizer=optimizer, params=params, num_steps=40, start_lr=1e-5, end_lr=1.0)


@pytest.mark.parametrize("name", ["g", "d"])
@pytest.mark.parametrize("form", ["dict", "list"])
@pytest.mark.parametrize("returned", ["g", "both"])
def test_its_curve_is_that_of_a_training_that_holds_it_alone(name: str, form: str, returned: str) -> None:
    """There the step returns its loss by itself, and the other optimizer is nobody's business."""
    alone = found_for(form="one", ramped=name, returned=name)
    found = found_for(optimizer=name, form=form, returned=returned)

    assert found.curve.lr == alone.curve.lr
    assert found.curve.loss == pytest.approx(alone.curve.loss)
    assert (found.optimizer_name, alone.optimizer_name) == (name, None)
    assert found.optimizer_tests == ()


def test_without_a_name_each_is_ramped_in_turn() -> None:
    found = found_for()

    assert [(test.name, test.curve) for test in found.optimizer_tests] == [
        (name, found_for(optimizer=name).curve) for name in ("g", "d")
    ]
    assert found.optimizer_name == "g"
    for test in found.optimizer_tests:
        if test.schedule_line is not None:
            assert test.schedule_line.startswith(f'CyclicLR(optimizers["{test.name}"], ')
            assert any(f'optimizers["{test.name}"]' in line for line in test.snippet)


@pytest.mark.parametrize(("name", "other"), [("g", "d"), ("d", "g")])
def test_the_others_keep_their_lr(name: str, other: str) -> None:
    source = find_source(f"{GAN}:build", params={}, device="cpu")
    from dataclasses import replace

    from lrtool.lr.measure import set_lr

    with ready(replace(source, optimizer=name), seed=0) as start:
        groups = {id(p): group for group in start.workload.optimizer.param_groups for p in group["params"]}
        model: Any = start.workload.model
        assert set(groups) == {id(parameter) for parameter in model[name].parameters()}
        before = {part: [p.detach().clone() for p in model[part].parameters()] for part in (name, other)}
        set_lr(start.workload.optimizer, 0.0, start.setup.group_ratios)
        start.step()
        moved = {
            part: any(not torch.equal(a, b) for a, b in zip(before[part], model[part].parameters(), strict=True))
            for part in (name, other)
        }

    assert start.setup.optimizer_settings["beta1"] == (0.5,)
    assert moved == {name: False, other: True}


def test_all_of_them_are_put_back() -> None:
    from tests.workloads.gan import build

    workload = build()
    for _ in range(3):
        workload["step"](workload["train_loader"][0], None)
    model, optimizers = workload["model"], workload["optimizer"]
    before = copy.deepcopy((model.state_dict(), {name: each.state_dict() for name, each in optimizers.items()}))
    backward = torch.autograd.backward

    found_for(workload)

    after = (model.state_dict(), {name: each.state_dict() for name, each in optimizers.items()})
    assert str(after) == str(before)
    assert [group["lr"] for each in optimizers.values() for group in each.param_groups] == list(OWN_LR.values())
    assert torch.autograd.backward is backward
    assert not any(each._optimizer_step_pre_hooks for each in optimizers.values())


def test_one_loss_moves_them_all_without_a_step() -> None:
    found = found_for(f"{GAN}:one_loss")

    assert [(test.name, test.optimizer) for test in found.optimizer_tests] == [("matrices", "SGD"), ("others", "Adam")]
    assert found.optimizer_tests[0].curve.loss != found.optimizer_tests[1].curve.loss
    assert found.optimizer_tests[0].max_lr is not None


def test_a_lightning_module_with_two_optimizers_is_tested_as_it_trains_them() -> None:
    pytest.importorskip("lightning")
    found = found_for(MODULE)

    assert [test.name for test in found.optimizer_tests] == ["generator", "discriminator"]
    assert found_for(MODULE, optimizer="1").curve == found.optimizer_tests[1].curve
    assert found.optimizer_tests[1].curve.loss[0] == pytest.approx(1.4, abs=0.3), (
        "twice log 2: of both halves of its loss"
    )
    assert found.optimizer_tests[0].curve.loss[0] == pytest.approx(0.7, abs=0.2), "log 2"


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"optimizer": "x"}, UsageError, "there is no optimizer 'x'"),
        ({"optimizer": "g", "form": "one", "ramped": "g"}, UsageError, "chooses among several, and there is one"),
        ({"returned": "strange"}, WorkloadError, r"step\(\) returned a dict of x"),
    ],
)
def test_what_cannot_be_chosen_is_told(asked: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        found_for(**asked)


def test_what_is_no_optimizer_is_told_by_its_name() -> None:
    from tests.workloads.gan import build

    for wrong, message in (
        ({"g": 1}, "optimizer 'g' is no torch.optim.Optimizer but a int"),
        ([], "optimizer is empty"),
    ):
        with pytest.raises(WorkloadError, match=message):
            found_for({**build(), "optimizer": wrong})


def test_together_they_step_and_forget_their_gradients_as_one() -> None:
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    both = Optimizers({str(i): torch.optim.SGD([p], lr=0.1) for i, p in enumerate(parameters)}, given=[])
    for parameter in parameters:
        parameter.grad = torch.ones(1)
    both.step()
    both.zero_grad()

    assert [parameter.item() for parameter in parameters] == pytest.approx([0.9, 0.9])
    assert [parameter.grad for parameter in parameters] == [None, None]
