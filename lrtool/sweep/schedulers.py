"""torch's own schedulers with what a condition asks for, on an optimizer that may have had another one before."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from lrtool.errors import WorkloadError
from lrtool.results import Condition
from lrtool.results.mem_sweep import PerGroup
from lrtool.workload.target import load_function

FINAL_DIV_FACTOR = 1e4
"""OneCycleLR's own: how far below its first LR the last one lies."""


def forget_earlier(optimizer: Optimizer) -> None:
    """Drop the LR that an earlier scheduler left in the groups: CyclicLR would take its first step there (pytorch#21965)."""
    for group in optimizer.param_groups:
        group.pop("initial_lr", None)


def for_groups(value: PerGroup, factors: Sequence[float], *, name: str) -> list[float]:
    """The value of each group: from a list as it stands, from a number times the group's factor. Raises WorkloadError."""
    if not isinstance(value, tuple):
        return [value * factor for factor in factors]
    if len(value) != len(factors):
        raise WorkloadError(
            f"{name} has {len(value)} values, and the optimizer {len(factors)} parameter groups",
            hint=f"give one value for all of them, or a list of {len(factors)}",
        )
    return list(value)


def cyclic(optimizer: Optimizer, condition: Condition, lowest: list[float], highest: list[float]) -> LRScheduler:
    """CyclicLR."""
    scale_fn = None if condition.scale_fn is None else load_function(condition.scale_fn)
    make = partial(
        CyclicLR,
        optimizer,
        base_lr=lowest,
        max_lr=highest,
        step_size_up=condition.step_size_up,
        step_size_down=condition.step_size_down,
        mode=condition.mode,
        gamma=condition.gamma,
        scale_fn=scale_fn,
        scale_mode=condition.scale_mode,
        **_momentum(optimizer, condition),
    )
    return _begun(make, condition.last_epoch)


def one_cycle(
    optimizer: Optimizer, condition: Condition, lowest: list[float], highest: list[float], *, num_steps: int
) -> LRScheduler:
    """OneCycleLR, whose one factor from the first LR to the highest is made that of each group."""
    up, down = condition.step_size_up, condition.step_size_down
    total = num_steps + condition.last_epoch + 1
    rises_one_step = total * up == up + down  # by which torch would divide zero by zero
    make = partial(
        OneCycleLR,
        optimizer,
        max_lr=highest,
        total_steps=total + rises_one_step,
        pct_start=up / (up + down),
        final_div_factor=FINAL_DIV_FACTOR,
        **_momentum(optimizer, condition),
    )
    scheduler = make()
    for group, lr in zip(optimizer.param_groups, lowest, strict=True):
        group.update(initial_lr=lr, min_lr=lr / FINAL_DIV_FACTOR)
    return make(last_epoch=condition.last_epoch) if condition.last_epoch >= 0 else _restarted(scheduler)


def _begun(make: Callable[..., LRScheduler], last_epoch: int) -> LRScheduler:
    """From the start, or as torch goes on: what the first scheduler leaves in the groups is what a resumed one reads."""
    scheduler = make()
    return scheduler if last_epoch < 0 else make(last_epoch=last_epoch)


def _restarted(scheduler: LRScheduler) -> LRScheduler:
    """At its first LR again, after what it starts from has changed."""
    scheduler.last_epoch -= 1
    scheduler._initial_step()
    return scheduler


def _momentum(optimizer: Optimizer, condition: Condition) -> dict[str, Any]:
    """Momentum is left as it is unless a cycle of it was asked for; ends that were not given are torch's own."""
    if not condition.cycle_momentum:
        return {"cycle_momentum": False}
    ones = [1.0] * len(optimizer.param_groups)
    ends = {"base_momentum": condition.base_momentum, "max_momentum": condition.max_momentum}
    given = {name: for_groups(end, ones, name=name) for name, end in ends.items() if end is not None}
    return {"cycle_momentum": True, **given}
