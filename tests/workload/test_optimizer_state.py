"""Optimizers inside optimizers, and what they keep in attributes, are as before after a run on live objects."""

import copy
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer

import lrtool
from lrtool.errors import WorkloadError
from lrtool.workload.optimizers.inner import with_inner
from lrtool.workload.optimizers.state import optimizer_state
from lrtool.workload.workload import Workload
from tests.workloads.good import build as good


class Sam(Optimizer):
    """Sharpness-aware minimization (Foret et al. 2020), whose groups are those of the optimizer it steps with."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"rho": 0.05, "lr": 0.1})
        self.base_optimizer = Adam(self.param_groups, lr=0.1)
        self.param_groups = self.base_optimizer.param_groups

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["e"] = parameter.grad * group["rho"]
        return self.base_optimizer.step()


class Slow:
    """Weights that follow slowly, as an object of a class of its own."""

    def __init__(self, params: list[Tensor]) -> None:
        self.weights = [each.detach().clone() for each in params]
        self.seen: dict[str, Any] = {"steps": 0, "ids": set()}


class Lookahead(Optimizer):
    """k steps forward, 1 step back (Zhang et al. 2019), around optimizers in a list and in a dict."""

    def __init__(self, params: Any) -> None:
        params = list(params)
        super().__init__(params, {"lr": 0.1})
        self.optimizers = [SGD(params[:2], lr=0.1, momentum=0.9)]
        self.by_name = {"rest": {"adam": Adam(params[2:], lr=0.1)}}
        self.slow = Slow(params)
        self.recent: deque[float] = deque(maxlen=3)
        self.counts = [0]

    def step(self, closure: Any = None) -> Any:
        lr = self.param_groups[0]["lr"]
        for each in (*self.optimizers, self.by_name["rest"]["adam"]):
            each.param_groups[0]["lr"] = lr
            each.step()
        self.counts[0] += 1
        self.recent.append(float(self.counts[0]))
        self.slow.seen["steps"] += 1
        for slow, fast in zip(self.slow.weights, self.param_groups[0]["params"], strict=True):
            slow.add_(0.5 * (fast.detach() - slow))


@pytest.fixture
def one_rank() -> Iterator[None]:
    dist.init_process_group("gloo", store=torch._C._distributed_c10d.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def zero(params: Any) -> Optimizer:
    return ZeroRedundancyOptimizer(params, optimizer_class=Adam, lr=0.1)


def training(make: Callable[[Any], Optimizer]) -> dict[str, Any]:
    torch.manual_seed(0)
    setup = good()
    optimizer = make(setup["model"].parameters())
    setup = {**setup, "optimizer": optimizer, "train_loader": list(setup["train_loader"])}
    go_on(setup, 5)
    return setup


def go_on(setup: dict[str, Any], num_steps: int) -> list[float]:
    losses = []
    for batch in setup["train_loader"][:num_steps]:
        setup["optimizer"].zero_grad()
        loss = setup["loss"](setup["model"], batch)
        loss.backward()
        setup["optimizer"].step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("make", [Sam, Lookahead, zero])
@pytest.mark.usefixtures("one_rank")
def test_training_goes_on_as_if_nothing_had_been(make: Callable[[Any], Optimizer]) -> None:
    expected = go_on(training(make), 10)
    setup = training(make)
    inner = with_inner(setup["optimizer"])
    lrtool.range_test(setup, num_steps=40)

    assert with_inner(setup["optimizer"]) == inner
    assert len(inner) > 1
    assert go_on(setup, 10) == expected


def test_what_an_optimizer_keeps_in_attributes_is_as_before() -> None:
    setup = training(Lookahead)
    optimizer = setup["optimizer"]
    before = copy.deepcopy((optimizer.slow.weights, optimizer.slow.seen, list(optimizer.recent), optimizer.counts))
    weights = optimizer.slow.weights[0]
    lrtool.range_test(setup, num_steps=40)

    assert optimizer.slow.weights[0] is weights
    assert all(torch.equal(one, other) for one, other in zip(optimizer.slow.weights, before[0], strict=True))
    assert (optimizer.slow.seen, list(optimizer.recent), optimizer.counts) == before[1:]


def test_an_optimizer_that_only_step_knows_of_is_as_before() -> None:
    other_model = nn.Linear(8, 1)
    other = SGD(other_model.parameters(), lr=0.05, momentum=0.9)

    def step(model: nn.Module, batch: Any, optimizer: Optimizer) -> Tensor:
        loss = F.mse_loss(model(batch[0]) + other_model(batch[0]), batch[1])
        for each in (optimizer, other):
            each.zero_grad()
        loss.backward()
        for each in (optimizer, other):
            each.step()
        return loss.detach()

    setup = {**good(), "step": step}
    weights = [each.detach().clone() for each in other_model.parameters()]
    lrtool.range_test(setup, num_steps=40)

    assert not other.state
    assert all(each.grad is None for each in other_model.parameters())
    assert all(torch.equal(one, two) for one, two in zip(other_model.parameters(), weights, strict=True))


def test_what_cannot_be_put_back_is_refused_before_anything_runs() -> None:
    setup = training(Lookahead)
    setup["optimizer"].draws = [iter_of_numbers()]
    weights = [each.detach().clone() for each in setup["model"].parameters()]

    with pytest.raises(WorkloadError, match=r"Lookahead\.draws\.0 is a generator"):
        lrtool.range_test(setup, num_steps=40)
    assert all(torch.equal(one, two) for one, two in zip(setup["model"].parameters(), weights, strict=True))
    assert next(setup["optimizer"].draws[0]) == 0


def iter_of_numbers() -> Iterator[int]:
    yield from range(10)


def test_what_leads_round_in_a_circle_is_kept_once() -> None:
    setup = training(Sam)
    setup["optimizer"].itself = [setup["optimizer"]]
    optimizer_state(Workload(**setup))()

    assert with_inner(setup["optimizer"])[0] is setup["optimizer"]
