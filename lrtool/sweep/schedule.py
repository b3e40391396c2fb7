"""The LR schedule of a trial: torch's own CyclicLR or OneCycleLR on the optimizer that the user's factory makes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from lrtool.errors import WorkloadError
from lrtool.lr.measure import set_lr
from lrtool.lr.source import group_ratios
from lrtool.results import Condition
from lrtool.results.mem_sweep import OptimizerKernel
from lrtool.sweep.executors.ranks import spread
from lrtool.workload.adapters import as_workload
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
        base_lr: float | None,
        max_lr: float | None,
        device: str = "cpu",
    ) -> None:
        self._factory = factory
        self._condition = condition
        self._num_steps = num_steps
        self._device = device
        self.base_lr, self.max_lr = base_lr, max_lr
        self.num_steps_done = 0

    def factory(self) -> Factory:
        """The factory that builds the workload with its schedule."""
        build = self._factory.function

        @wraps(build)
        def scheduled(*arguments: Any, **named: Any) -> Workload:
            return self._scheduled(as_workload(build(*arguments, **named), name=self._factory.name))

        return replace(self._factory, function=scheduled)

    def _scheduled(self, workload: Workload) -> Workload:
        workload = spread(workload, shard=self._condition.shard, device=self._device)
        use_kernel(workload.optimizer, self._condition.optimizer_kernel)
        scheduler = self._scheduler(workload.optimizer)
        own_step = workload.step
        workload = replace(workload, precision=self._condition.precision or workload.precision)
        if own_step is not None and any(p.name == "scheduler" for p in parameters_of(own_step)):
            step = partial(own_step, scheduler=scheduler)  # the user's step moves it on by itself
            return replace(workload, step=step, scheduler=_Counted(self, None))
        return replace(workload, scheduler=_Counted(self, scheduler))

    def _scheduler(self, optimizer: Optimizer) -> LRScheduler | None:
        ratios = group_ratios(optimizer)
        if self.base_lr is None or self.max_lr is None:
            self.max_lr = max(float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups)
            self.base_lr = self.max_lr * BASE_LR_FRACTION
        lowest, highest = ([lr * ratio for ratio in ratios] for lr in (self.base_lr, self.max_lr))
        if self._condition.schedule == "constant":
            set_lr(optimizer, self.max_lr, ratios)
            return None
        make = _cyclic if self._condition.schedule == "cyclic" else partial(_one_cycle, num_steps=self._num_steps)
        return make(optimizer, self._condition, lowest, highest)


def use_kernel(optimizer: Optimizer, kernel: OptimizerKernel | None) -> None:
    """Have an optimizer that was built take its step so. Raises WorkloadError where it has no such implementation."""
    if kernel is None:
        return
    if kernel != "single" and kernel not in optimizer.defaults:
        raise WorkloadError(
            f"{type(optimizer).__name__} has no {kernel} implementation of its step",
            hint=f"leave {kernel} out of --optimizer-kernel, or use an optimizer that has one, such as torch.optim.AdamW",
        )
    for group in optimizer.param_groups:
        group.update({name: name == kernel for name in ("foreach", "fused") if name in optimizer.defaults})


class _Counted:
    """A scheduler that counts the steps it is told of."""

    def __init__(self, build: ScheduledBuild, scheduler: LRScheduler | None) -> None:
        self._build = build
        self._move_on: Callable[[], None] = (lambda: None) if scheduler is None else scheduler.step

    def step(self) -> None:
        self._move_on()
        self._build.num_steps_done += 1


def _cyclic(optimizer: Optimizer, condition: Condition, lowest: list[float], highest: list[float]) -> LRScheduler:
    return CyclicLR(
        optimizer,
        base_lr=lowest,
        max_lr=highest,
        step_size_up=condition.step_size_up,
        step_size_down=condition.step_size_down,
        mode=condition.mode,
        gamma=condition.gamma,
        scale_mode=condition.scale_mode,
        cycle_momentum=False,
    )


def _one_cycle(
    optimizer: Optimizer, condition: Condition, lowest: list[float], highest: list[float], *, num_steps: int
) -> LRScheduler:
    up, down = condition.step_size_up, condition.step_size_down
    rises_one_step = num_steps * up == up + down  # by which torch would divide zero by zero
    return OneCycleLR(
        optimizer,
        max_lr=highest,
        total_steps=num_steps + rises_one_step,
        pct_start=up / (up + down),
        div_factor=highest[0] / lowest[0] if lowest[0] else 1.0,
        cycle_momentum=False,
    )
