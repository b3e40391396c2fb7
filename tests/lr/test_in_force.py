"""Whether the LR that was set is the one in force: what sets another is named, and nothing is suggested."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

import lrtool
from tests.workloads.good import build as good

Step = Callable[[nn.Module, Any, Optimizer], Tensor]


def train(model: nn.Module, batch: Any, optimizer: Optimizer) -> Tensor:
    loss = F.mse_loss(model(batch[0]), batch[1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def warm_up_by_hand() -> dict[str, Any]:
    count = iter(range(1, 100_000))

    def step(model: nn.Module, batch: Any, optimizer: Optimizer) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, next(count) / 50)  # set here
        return train(model, batch, optimizer)

    return {**good(), "step": step}


def scheduler_first() -> dict[str, Any]:
    setup = good()
    scheduler = torch.optim.lr_scheduler.LambdaLR(setup["optimizer"], lambda step: min(1.0, (step + 1) / 50))

    def step(model: nn.Module, batch: Any, optimizer: Optimizer) -> Tensor:
        scheduler.step()  # set here
        return train(model, batch, optimizer)

    return {**setup, "step": step}


class Warming(torch.optim.Adam):
    """An optimizer that writes an LR of its own."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["lr"] = 1e-3  # set here
        return super().step(closure)


def own_lr() -> dict[str, Any]:
    setup = good()
    return {**setup, "optimizer": Warming(setup["model"].parameters(), lr=1e-2)}


class Inside(torch.optim.Optimizer):
    """An optimizer around another whose groups are copies: the LR of its own groups reaches nothing."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1})
        self.optimizers = {"all": [torch.optim.SGD([p for g in self.param_groups for p in g["params"]], lr=0.05)]}

    def step(self, closure: Any = None) -> Any:
        return self.optimizers["all"][0].step(closure)


def deaf() -> dict[str, Any]:
    setup = good()
    return {**setup, "optimizer": Inside(setup["model"].parameters())}


def line_of(function: Callable[..., Any]) -> str:
    """`file.py:line` of the line marked in a function or class."""
    import inspect

    lines, first = inspect.getsourcelines(function)
    return f"test_in_force.py:{first + next(i for i, line in enumerate(lines) if 'set here' in line)}"


@pytest.mark.parametrize(
    ("build", "setter"),
    [
        (warm_up_by_hand, line_of(warm_up_by_hand)),
        (scheduler_first, line_of(scheduler_first)),
        (own_lr, line_of(Warming)),
        (deaf, "SGD.step()"),
    ],
)
def test_an_lr_that_something_else_sets_supports_nothing_and_its_line_is_named(build: Any, setter: str) -> None:
    found = lrtool.range_test(build, device="cpu")

    assert found.max_lr is None
    assert found.confidence == "none"
    assert found.stopped == "overridden"
    assert "something else sets the learning rate" in found.reason
    assert " at the step, not 1e-07" in found.reason
    assert setter in found.reason
    assert found.advice is not None


def test_a_scheduler_after_the_step_does_no_harm() -> None:
    def build() -> dict[str, Any]:
        setup = good()
        scheduler = torch.optim.lr_scheduler.StepLR(setup["optimizer"], 1, gamma=0.5)

        def step(model: nn.Module, batch: Any, optimizer: Optimizer) -> Tensor:
            loss = train(model, batch, optimizer)
            scheduler.step()
            return loss

        return {**setup, "step": step}

    assert lrtool.range_test(build, device="cpu").max_lr is not None


def test_an_lr_that_a_tensor_holds_is_seen_when_it_is_written_to() -> None:
    def build(written: bool) -> dict[str, Any]:
        setup = good()
        optimizer = torch.optim.Adam(setup["model"].parameters(), lr=torch.tensor(0.1), foreach=False)

        def step(model: nn.Module, batch: Any, optimizer: Optimizer) -> Tensor:
            if written:
                optimizer.param_groups[0]["lr"].fill_(0.25)
            return train(model, batch, optimizer)

        return {**setup, "optimizer": optimizer, "step": step}

    assert "0.25 at the step" in lrtool.range_test(lambda: build(True), device="cpu").reason
    assert lrtool.range_test(lambda: build(False), device="cpu").max_lr is not None


def test_an_optimizer_that_is_never_stepped_is_told() -> None:
    def build() -> dict[str, Any]:
        setup = good()
        other = torch.optim.Adam(setup["model"].parameters(), lr=0.01)
        return {**setup, "step": lambda model, batch, optimizer: train(model, batch, other)}

    found = lrtool.range_test(build, device="cpu")

    assert (found.max_lr, found.stopped) == (None, "overridden")
    assert "never calls SGD.step()" in found.reason


def test_live_objects_keep_no_hook() -> None:
    setup = warm_up_by_hand()
    lrtool.range_test(setup)

    assert not setup["optimizer"]._optimizer_step_pre_hooks
    assert not setup["optimizer"]._optimizer_step_post_hooks


class Relative(torch.optim.SGD):
    """As Adafactor with relative_step: no LR is given, and it finds its own."""

    def __init__(self, params: Any, *, lr: Any) -> None:
        super().__init__(params, lr=0.1)
        for group in self.param_groups:
            if lr == "absent":
                del group["lr"]
            else:
                group["lr"] = lr


@pytest.mark.parametrize(("lr", "told"), [(None, "lr=None"), ("absent", "no lr in its groups"), ("auto", "lr='auto'")])
def test_an_optimizer_without_an_lr_is_told_so(lr: Any, told: str) -> None:
    setup = good()
    setup["optimizer"] = Relative(setup["model"].parameters(), lr=lr)

    with pytest.raises(lrtool.WorkloadError, match="Relative") as raised:
        lrtool.range_test(lambda: setup)

    assert told in raised.value.message
    assert "relative_step=False" in (raised.value.hint or "")
    assert raised.value.trace is None
