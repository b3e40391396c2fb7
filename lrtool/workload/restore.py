"""Take a snapshot of a user's live model, optimizer, scheduler and random generators, and put all of it back exactly.

Objects keep their identity: values are copied back into the very tensors they came from, so that whatever else refers
to them (a DataParallel wrapper, an EMA, the user's own variables) sees nothing of the run in between.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from lrtool.workload.optimizers.state import generator_state, optimizer_state, optimizers_of, tensor_values
from lrtool.workload.workload import Workload, optimizer_parameters

Restore = Callable[[], object]


@contextmanager
def restored(workload: Workload) -> Iterator[None]:
    """Run the body; afterwards, also when it raises, the workload is as it was before.

    Put back: parameters, buffers, gradients, requires_grad, train/eval mode of every module, optimizers with their state and
    groups, those inside them and those that step() and loss() refer to, the scheduler's state, the generators of the loader
    and its data set, and the random generators of Python, NumPy and torch (CPU, CUDA, MPS). Not put back: batches taken from
    a one-shot iterator, and what else the user's code keeps.
    Costs a copy of the model and of the optimizer state: in host memory, so that a model which just fits still does.
    """
    with ExitStack() as stack:  # what is on it by then is put back also when the next snapshot, or putting back, fails
        stack.callback(_model(workload.model))
        stack.callback(_gradients(workload))
        stack.callback(optimizer_state(workload))
        stack.callback(_scheduler(workload.scheduler))
        stack.callback(_loader(workload.train_loader))
        stack.callback(_generators())
        yield


@contextmanager
def generators_restored() -> Iterator[None]:
    """Run the body; afterwards the random generators of Python, NumPy and torch are as they were before."""
    with ExitStack() as stack:
        stack.callback(_generators())
        yield


def _model(model: nn.Module) -> Restore:
    modes = [(module, module.training) for module in model.modules()]
    holders: list[dict[str, Any]] = [h for m in model.modules() for h in (m._parameters, m._buffers)]
    members = [(holder, dict(holder)) for holder in holders]
    values = [tensor_values(tensor) for tensor in (*model.parameters(), *model.buffers())]

    def restore() -> None:
        for holder, before in members:
            holder.clear()
            holder.update(before)
        for value in values:
            value()
        for module, mode in modes:
            module.training = mode

    return restore


def _gradients(workload: Workload) -> Restore:
    """Gradients are taken off for the run, which makes its own, and hung back: nothing is copied."""
    held = [each for optimizer in optimizers_of(workload) for each in optimizer_parameters(optimizer)]
    parameters = {id(p): p for p in (*workload.model.parameters(), *held)}
    before = [(p, p.grad, p.requires_grad) for p in parameters.values()]
    for parameter in parameters.values():
        parameter.grad = None

    def restore() -> None:
        for parameter, gradient, requires_grad in before:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient

    return restore


def _scheduler(scheduler: Any) -> Restore:
    if scheduler is None or not hasattr(scheduler, "state_dict"):
        return lambda: None
    state = deepcopy(scheduler.state_dict())
    return lambda: scheduler.load_state_dict(state)


def _loader(loader: Any) -> Restore:
    """Put back the generators that the loader, its samplers and its data set own, and its persistent workers.

    The run gets workers of its own: those of an epoch under way stay with it.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    owners = (loader, *samplers, getattr(loader, "dataset", None))
    values = {id(value): value for owner in owners for value in getattr(owner, "__dict__", {}).values()}
    generators = [put_back for value in values.values() if (put_back := generator_state(value)) is not None]
    workers = loader._iterator if isinstance(loader, DataLoader) else None
    if workers is not None:
        loader._iterator = None

    def restore() -> None:
        for put_back in generators:
            put_back()
        if isinstance(loader, DataLoader):
            loader._iterator = workers

    return restore


def _generators() -> Restore:
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)

    return restore
