"""The LRs that a trial's optimizer had, step by step, and has on after the steps that were taken one by one."""

import warnings
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lrtool.results.stored.trial_dir import Lrs
from lrtool.units import count_of
from lrtool.workload.schedulers import MoveOn, takes_loss


class LrWatch:
    """Looks at the groups when a schedule begins and after each step; `move_on` is None where nothing here moves the
    scheduler, because there is none, or because the user's step does.
    """

    def __init__(self, optimizer: Optimizer, scheduler: Any, move_on: MoveOn | None) -> None:
        self._optimizer, self._scheduler, self._move_on = optimizer, scheduler, move_on
        self._begin = self._count()
        self.judges_by_loss = scheduler is not None and takes_loss(scheduler)
        self.end: str | None = None
        self._seen: list[tuple[float, ...]] = []
        self.sees_numbers = not any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups)
        self.step_ended()

    def step_ended(self) -> None:
        if self.sees_numbers:
            self._seen.append(tuple(float(group["lr"]) for group in self._optimizer.param_groups))

    def until(self, num_steps: int) -> Lrs:
        """The LRs of the first steps: those that were seen, then as the scheduler goes on by itself, as far as it does."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no optimizer step came before
            while self.sees_numbers and len(self._seen) < num_steps and self._goes_on():
                self.step_ended()
        return tuple(self._seen[:num_steps])

    def _goes_on(self) -> bool:
        """Move the scheduler on; False where only training itself can tell how."""
        if self._scheduler is None:
            return True
        if self.judges_by_loss:
            return False
        try:
            if self._move_on is not None:
                self._move_on(None)
            elif self._count() == self._begin + len(self._seen) - 1:  # the user's step moved it on once a step
                self._scheduler.step()
            else:
                return False
        except Exception as error:
            self.end = f"the scheduler ends after {count_of(len(self._seen), 'step')}: {error}"
            return False
        return True

    def _count(self) -> int:
        return int(getattr(self._scheduler, "last_epoch", 0))
