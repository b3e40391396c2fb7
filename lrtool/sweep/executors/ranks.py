"""A trial's process as one of several ranks: those of a launcher, or simulated ones; and its workload spread over them."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import wraps
from typing import Any

import torch
import torch.distributed as dist

from lrtool.results import Recorder, Shard
from lrtool.workload.adapters import as_workload
from lrtool.workload.devices import ACCELERATOR, place
from lrtool.workload.distributed.launch import GROUP, launch_of
from lrtool.workload.target import Factory
from lrtool.workload.workload import Workload


def among_ranks(recorder: Recorder, *, world_size: int | None = None) -> AbstractContextManager[None]:
    """The process group of this trial: of its launcher's ranks, real ones unless the trial is a prediction; of
    `world_size` simulated ones; or of nobody.
    """
    launch = launch_of() if GROUP in os.environ else None
    if launch is not None and recorder != "predicted":
        from lrtool.workload.distributed.team import trial_group

        return trial_group(launch, os.environ[GROUP], device=rank_device(recorder))
    if launch is None and world_size is None:
        return nullcontext()
    from lrtool.tracing.tracer.simulated_ranks import simulated_ranks

    if launch is not None:
        return simulated_ranks(launch.world_size, rank=launch.rank)
    assert world_size is not None
    return simulated_ranks(world_size)


def device_type(recorder: Recorder) -> str:
    """The type of device that a recorder's figures are of."""
    return "cpu" if recorder == "cpu" else ACCELERATOR


def rank_device(recorder: Recorder) -> str:
    """Where a trial runs: of several GPUs its process sees its own alone."""
    return "cpu" if recorder == "cpu" else f"{ACCELERATOR}:0"


def spread(workload: Workload, *, shard: Shard, device: str) -> Workload:
    """The workload as this process trains it, where it is one of several ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return workload
    at = torch.device(device)
    if dist.get_backend() == "fake":
        from lrtool.tracing.tracer.simulated_ranks import spread_simulated

        return spread_simulated(workload, shard, device=at)
    from lrtool.workload.distributed.wrapping import distribute

    place(workload, at)
    return distribute(workload, rank=dist.get_rank(), world_size=dist.get_world_size()).workload


def spread_factory(factory: Factory, recorder: Recorder) -> Factory:
    """A factory whose workloads are spread over the ranks."""
    build = factory.function

    @wraps(build)
    def spread_build(*arguments: Any, **named: Any) -> Workload:
        workload = as_workload(build(*arguments, **named), name=factory.name)
        return spread(workload, shard="none", device=rank_device(recorder))

    return replace(factory, function=spread_build)
