"""When the losses of a ramp are looked at, and how they are read: rarely, because on a GPU each look waits for it."""

import time
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

MIN_STEPS_BETWEEN_READS = 4
MAX_STEPS_BETWEEN_READS = 50
SECONDS_BETWEEN_READS = 0.05


class LossReader(Protocol):
    """Says after each step whether to read now, and reads the losses kept since the last read, which are given up.

    Where reading needs all ranks (`take_all_ranks`), losses cannot be read any more once a rank has failed.
    """

    take_all_ranks: bool

    def are_due(self, num_pending: int) -> bool: ...

    def read(self, pending: list[Tensor]) -> list[float]: ...


class TimedLossReader:
    """LossReader some 50 ms apart, 4 to 50 steps."""

    take_all_ranks = False

    def __init__(self) -> None:
        self._next_read = time.perf_counter() + SECONDS_BETWEEN_READS

    def are_due(self, num_pending: int) -> bool:
        if num_pending < MIN_STEPS_BETWEEN_READS:
            return False
        return num_pending >= MAX_STEPS_BETWEEN_READS or time.perf_counter() >= self._next_read

    def read(self, pending: list[Tensor]) -> list[float]:
        """On a GPU one copy and one wait for all of them."""
        if pending[0].device.type == "cpu":
            losses = [loss.item() for loss in pending]
        else:
            losses = torch.stack([loss.reshape(()) for loss in pending]).tolist()
        pending.clear()
        self._next_read = time.perf_counter() + SECONDS_BETWEEN_READS
        return losses


class AveragedLossReader:
    """LossReader at the same steps on all ranks, which see the same losses there and so stop at the same step.

    The number of steps to the next read comes from the time that the steps before this one took, averaged over the ranks.
    """

    take_all_ranks = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._num_steps = MIN_STEPS_BETWEEN_READS
        self._last_read = time.perf_counter()

    def are_due(self, num_pending: int) -> bool:
        return num_pending >= self._num_steps

    def read(self, pending: list[Tensor]) -> list[float]:
        """The means over the ranks of the losses kept since the last read."""
        step_s = (time.perf_counter() - self._last_read) / len(pending)
        values = [loss.reshape(()).to(self._device, torch.float64) for loss in pending]
        averaged = torch.stack([*values, torch.tensor(step_s, dtype=torch.float64, device=self._device)])
        dist.all_reduce(averaged)
        *losses, mean_step_s = (averaged / dist.get_world_size()).tolist()
        wanted = round(SECONDS_BETWEEN_READS / mean_step_s)
        self._num_steps = min(max(wanted, MIN_STEPS_BETWEEN_READS), MAX_STEPS_BETWEEN_READS)
        pending.clear()
        self._last_read = time.perf_counter()
        return losses
