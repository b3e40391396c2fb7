"""How an LR scheduler is moved on, of whatever class it is: each step of training moves it on once."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lrtool.workload.user_code import parameters_of

MoveOn = Callable[[Tensor | None], None]


def takes_loss(scheduler: Any) -> bool:
    """Whether its step needs a figure to judge by, as that of ReduceLROnPlateau does."""
    first = next(iter(parameters_of(scheduler.step)), None)
    needs_one = first is not None and first.default is first.empty and first.kind is not first.VAR_POSITIONAL
    return needs_one and first is not None and first.kind is not first.VAR_KEYWORD and not is_counted(scheduler)


def is_counted(scheduler: Any) -> bool:
    """Whether it wants to be told how many steps there were, as timm's schedulers do."""
    return callable(getattr(scheduler, "step_update", None))


def mover_of(scheduler: Any) -> MoveOn:
    """A function that moves it on by one step of training, which ended with this loss."""
    if is_counted(scheduler):
        count = 0

        def counted(loss: Tensor | None) -> None:
            nonlocal count
            count += 1
            scheduler.step_update(count)

        return counted
    if takes_loss(scheduler):
        return lambda loss: scheduler.step(loss)
    return lambda loss: scheduler.step()


class EpochScheduler:
    """A scheduler that moves on once in so many steps, as Lightning does with those of the interval "epoch"."""

    def __init__(self, scheduler: Any, *, every_steps: int) -> None:
        self.scheduler, self._every_steps, self._num_steps = scheduler, every_steps, 0

    def step(self) -> None:
        self._num_steps += 1
        if self._num_steps % self._every_steps == 0:
            self.scheduler.step()
