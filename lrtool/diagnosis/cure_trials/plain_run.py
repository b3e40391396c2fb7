"""A few training steps with nothing watching: their losses, and how long a step takes. What cures cost besides bytes."""

import math
import time
from dataclasses import dataclass

import torch

from lrtool.workload.batches import Batches, LoaderEnded
from lrtool.workload.devices import accelerator, is_accelerator, place
from lrtool.workload.step import make_step, with_scheduler
from lrtool.workload.target import Factory
from lrtool.workload.user_code import user_code

WARMUP_STEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRun:
    """`loss` is that of the last step; None where it is not finite. `step_duration_s` is the mean after the warm-up,
    None in a run that has no steps after it.
    """

    num_steps: int
    loss: float | None
    step_duration_s: float | None


def run_plainly(
    factory: Factory, *, device: torch.device, seed: int, num_steps: int, max_duration_s: float
) -> PlainRun | None:
    """Build and train on `device`; None where it takes longer than it may, since part of a run has another loss.

    Raises WorkloadError where the user's code fails.
    """
    begin = time.perf_counter()
    workload = factory.build(seed=seed, device=device)
    with user_code("moving the model to its device"):
        place(workload, device)
    step = with_scheduler(make_step(workload, device, Batches(workload.train_loader)), workload.scheduler)
    loss: torch.Tensor | None = None
    warm, num_done = begin, 0
    for _ in range(num_steps):
        try:
            with user_code("the training step"):
                loss = step()
        except LoaderEnded:
            break
        num_done += 1
        if num_done == WARMUP_STEPS:
            warm = _now(device)
        if time.perf_counter() - begin > max_duration_s:
            return None
    ended = _now(device)
    value = math.nan if loss is None else float(loss)
    return PlainRun(
        num_steps=num_done,
        loss=value if math.isfinite(value) else None,
        step_duration_s=(ended - warm) / (num_done - WARMUP_STEPS) if num_done > WARMUP_STEPS else None,
    )


def _now(device: torch.device) -> float:
    """The time at which all that was asked of the device is done."""
    if is_accelerator(device):
        accelerator().synchronize(device)
    return time.perf_counter()
