"""The LR schedule of a trial, on the optimizer that the user's factory makes: torch's own, or the user's, and its LRs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from inspect import Signature
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrtool.errors import WorkloadError
from lrtool.lr.measure import set_lr
from lrtool.lr.source import group_ratios
from lrtool.results import Condition
from lrtool.results.mem_sweep import OptimizerKernel, PerGroup
from lrtool.results.stored.trial_dir import Lrs
from lrtool.sweep.executors.ranks import spread
from lrtool.sweep.lr_watch import LrWatch
from lrtool.sweep.schedulers import cyclic, for_groups, forget_earlier, one_cycle
from lrtool.workload.adapters import as_workload
from lrtool.workload.frameworks.framework import own_scheduler
from lrtool.workload.optimizers.several import Optimizers, all_optimizers
from lrtool.workload.schedulers import MoveOn, mover_of
from lrtool.workload.target import Factory
from lrtool.workload.user_code import parameters_of
from lrtool.workload.workload import Workload

BASE_LR_FRACTION = 0.1
"""Of an optimizer's own LR, taken as max_lr, where nobody gave a range."""


class ScheduledBuild:
    """A user's factory whose workload gets the schedule of a condition; tells the LRs and how many steps were done."""

    def __init__(
        self,
        factory: Factory,
        condition: Condition,
        *,
        num_steps: int,
        base_lr: PerGroup | None,
        max_lr: PerGroup | None,
        device: str = "cpu",
    ) -> None:
        self._factory = factory
        self._condition = condition
        self._num_steps = num_steps
        self._device = device
        self._given = base_lr, max_lr
        self._watch: LrWatch | None = None
        self._ran_with: tuple[list[float], list[float]] | None = None
        self.base_lr: float | None = None
        self.max_lr: float | None = None
        self.num_steps_done = 0

    def factory(self) -> Factory:
        """The factory that builds the workload with its schedule."""
        build = self._factory.function

        @wraps(build)
        def scheduled(*arguments: Any, **named: Any) -> Workload:
            return self._scheduled(as_workload(build(*arguments, **named), name=self._factory.name))

        return replace(self._factory, function=scheduled)

    def lrs(self, num_steps: int, *, is_trained: bool) -> Lrs:
        """The LR of each group at each of so many steps; of those that were not taken one by one, as the scheduler goes on.

        None are known of a scheduler that judges by the loss where nothing was trained.
        """
        if self._watch is None or (self._watch.judges_by_loss and not is_trained):
            return ()
        if self._watch.sees_numbers or not self._ran_with:
            return self._watch.until(num_steps)
        lowest, highest = self._ran_with  # LRs that are tensors may have no values, or be on a GPU
        shadow = SGD([{"params": [torch.zeros(1)]} for _ in lowest], lr=1.0, momentum=0.9)
        scheduler = self._make(shadow, lowest, highest)
        return LrWatch(shadow, scheduler, None if scheduler is None else mover_of(scheduler)).until(num_steps)

    @property
    def scheduler_end(self) -> str | None:
        """What the scheduler said where it came to its end before the trial did; None where it did not."""
        return None if self._watch is None else self._watch.end

    def _scheduled(self, workload: Workload) -> Workload:
        workload = spread(workload, shard=self._condition.shard, device=self._device)
        use_kernel(workload.optimizer, self._condition.optimizer_kernel)
        scheduler = self._scheduler(workload)
        own_step = workload.step
        workload = replace(workload, precision=self._condition.precision or workload.precision)
        moves_itself = own_step is not None and any(p.name == "scheduler" for p in parameters_of(own_step))
        move_on = None if scheduler is None or moves_itself else mover_of(scheduler)
        self._watch = LrWatch(workload.optimizer, scheduler, move_on)
        counted = _Counted(self, self._watch, move_on)
        if moves_itself and own_step is not None:
            return replace(workload, step=_with_scheduler(own_step, scheduler), scheduler=counted)
        return replace(workload, scheduler=counted)

    def _scheduler(self, workload: Workload) -> Any:
        if self._condition.schedule == "own":
            return own_scheduler(workload)
        optimizer = workload.optimizer
        lowest, highest = self._ends(optimizer)
        self._ran_with = lowest, highest
        self.base_lr, self.max_lr = max(lowest), max(highest)
        forget_earlier(optimizer)
        return self._make(optimizer, lowest, highest)

    def _make(self, optimizer: Optimizer, lowest: list[float], highest: list[float]) -> LRScheduler | None:
        if self._condition.schedule == "constant":
            set_lr(optimizer, 1.0, highest)
            return None
        make = cyclic if self._condition.schedule == "cyclic" else partial(one_cycle, num_steps=self._num_steps)
        return make(optimizer, self._condition, lowest, highest)

    def _ends(self, optimizer: Optimizer) -> tuple[list[float], list[float]]:
        """The lowest and the highest LR of each group."""
        ratios = group_ratios(optimizer)
        base_lr, max_lr = self._given
        if base_lr is None or max_lr is None:
            max_lr = max(float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups)
            base_lr = max_lr * BASE_LR_FRACTION
        return for_groups(base_lr, ratios, name="base_lr"), for_groups(max_lr, ratios, name="max_lr")


def use_kernel(optimizer: Optimizer, kernel: OptimizerKernel | None) -> None:
    """Have an optimizer that was built take its step so. Raises WorkloadError where it has no such implementation."""
    if kernel is None:
        return
    if isinstance(optimizer, Optimizers):
        for each in all_optimizers(optimizer):
            use_kernel(each, kernel)
        return
    if kernel != "single" and kernel not in optimizer.defaults:
        raise WorkloadError(
            f"{type(optimizer).__name__} has no {kernel} implementation of its step",
            hint=f"leave {kernel} out of --optimizer-kernel, or use an optimizer that has one, such as torch.optim.AdamW",
        )
    for group in optimizer.param_groups:
        group.update({name: name == kernel for name in ("foreach", "fused") if name in optimizer.defaults})


def _with_scheduler(step: Callable[..., Any], scheduler: Any) -> Callable[..., Any]:
    """A user's step that moves the scheduler on by itself, and has it: nobody is to hand it another one by that name."""

    @wraps(step)
    def given(*arguments: Any, **named: Any) -> Any:
        return step(*arguments, **{**named, "scheduler": scheduler})

    others = [parameter for parameter in parameters_of(step) if parameter.name != "scheduler"]
    given.__signature__ = Signature(others)  # type: ignore[attr-defined]
    return given


class _Counted:
    """A scheduler that is told of each step, counts it, and keeps the LRs."""

    def __init__(self, build: ScheduledBuild, watch: LrWatch, move_on: MoveOn | None) -> None:
        self._build, self._watch, self._move_on = build, watch, move_on

    def step(self, loss: Tensor) -> None:
        if self._move_on is not None:
            self._move_on(loss)
        self._watch.step_ended()
        self._build.num_steps_done += 1
