"""Losses averaged over the ranks: at each look in one collective, on the device, so that steps are not held up."""

import time

import torch
import torch.distributed as dist
from torch import Tensor

MIN_STEPS_BETWEEN_LOOKS = 4
MAX_STEPS_BETWEEN_LOOKS = 50
SECONDS_BETWEEN_LOOKS = 0.05


class AveragedLooks:
    """Looks at the same steps on all ranks, which see the same losses there and so stop at the same step.

    The number of steps to the next look comes from the time that the steps before this one took, averaged over the ranks.
    """

    take_all_ranks = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._num_steps = MIN_STEPS_BETWEEN_LOOKS
        self._last_look = time.perf_counter()

    def are_due(self, num_pending: int) -> bool:
        return num_pending >= self._num_steps

    def read(self, pending: list[Tensor]) -> list[float]:
        """The means over the ranks of the losses kept since the last look."""
        step_s = (time.perf_counter() - self._last_look) / len(pending)
        values = [loss.reshape(()).to(self._device, torch.float64) for loss in pending]
        averaged = torch.stack([*values, torch.tensor(step_s, dtype=torch.float64, device=self._device)])
        dist.all_reduce(averaged)
        *losses, mean_step_s = (averaged / dist.get_world_size()).tolist()
        wanted = round(SECONDS_BETWEEN_LOOKS / mean_step_s)
        self._num_steps = min(max(wanted, MIN_STEPS_BETWEEN_LOOKS), MAX_STEPS_BETWEEN_LOOKS)
        pending.clear()
        self._last_look = time.perf_counter()
        return losses
