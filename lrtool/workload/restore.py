"""Take a snapshot of a user's live model, optimizer, scheduler and random generators, and put all of it back exactly.

Objects keep their identity: values are copied back into the very tensors they came from, so that whatever else refers
to them (a DataParallel wrapper, an EMA, the user's own variables) sees nothing of the run in between.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lrtool.workload.optimizers import all_optimizers
from lrtool.workload.workload import Workload, optimizer_parameters

Restore = Callable[[], object]


@contextmanager
def restored(workload: Workload) -> Iterator[None]:
    """Run the body; afterwards, also when it raises, the workload is as it was before.

    Put back: parameters, buffers, gradients, requires_grad, train/eval mode of every module, optimizer state and groups,
    the scheduler's state, the generators of the loader and its data set, and the random generators of Python, NumPy and
    torch (CPU, CUDA, MPS). Not put back: batches taken from a one-shot iterator, and what else the user's code keeps.
    Costs a copy of the model and of the optimizer state: in host memory, so that a model which just fits still does.
    """
    with ExitStack() as stack:  # what is on it by then is put back also when the next snapshot, or putting back, fails
        stack.callback(_model(workload.model))
        stack.callback(_gradients(workload))
        for optimizer in all_optimizers(workload.optimizer):
            stack.callback(_optimizer(workload, optimizer))
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


def _tensor(tensor: Tensor) -> Restore:
    """Put back a tensor's values, in place, and the memory they stand in, if the run gave it another."""
    data = tensor.detach()
    once = data[tuple(slice(1) if stride == 0 else slice(None) for stride in data.stride())]  # of an expanded one
    copy = once.to("cpu", copy=True)

    def restore() -> None:
        once.copy_(copy)
        if tensor.data_ptr() != data.data_ptr():
            tensor.data = data

    return restore


def _model(model: nn.Module) -> Restore:
    modes = [(module, module.training) for module in model.modules()]
    holders: list[dict[str, Any]] = [h for m in model.modules() for h in (m._parameters, m._buffers)]
    members = [(holder, dict(holder)) for holder in holders]
    values = [_tensor(tensor) for tensor in (*model.parameters(), *model.buffers())]

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
    parameters = {id(p): p for p in (*workload.model.parameters(), *optimizer_parameters(workload.optimizer))}
    before = [(p, p.grad, p.requires_grad) for p in parameters.values()]
    for parameter in parameters.values():
        parameter.grad = None

    def restore() -> None:
        for parameter, gradient, requires_grad in before:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient

    return restore


def _optimizer(workload: Workload, optimizer: torch.optim.Optimizer) -> Restore:
    owned = {id(p) for p in workload.model.parameters()}
    strays = [_tensor(p) for p in optimizer_parameters(optimizer) if id(p) not in owned]
    attributes = dict(vars(optimizer))
    states = [(parameter, state, _values(state)) for parameter, state in optimizer.state.items()]
    groups = [(group, _values(group)) for group in optimizer.param_groups]

    def restore() -> None:
        vars(optimizer).clear()
        vars(optimizer).update(attributes)
        for stray in strays:
            stray()
        optimizer.state.clear()
        for parameter, state, put_back in states:
            put_back()
            optimizer.state[parameter] = state
        optimizer.param_groups[:] = [group for group, _ in groups]
        for _, put_back in groups:
            put_back()

    return restore


def _values(values: dict[str, Any]) -> Restore:
    """Put back a dict: its tensors as the same objects with their old content, the parameters as they are."""
    tensors = [_tensor(value) for value in values.values() if isinstance(value, Tensor)]
    before = {k: v if isinstance(v, Tensor) or k == "params" else deepcopy(v) for k, v in values.items()}

    def restore() -> None:
        for tensor in tensors:
            tensor()
        values.clear()
        values.update(before)

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
    generators = [put_back for value in values.values() if (put_back := _generator(value)) is not None]
    workers = loader._iterator if isinstance(loader, DataLoader) else None
    if workers is not None:
        loader._iterator = None

    def restore() -> None:
        for put_back in generators:
            put_back()
        if isinstance(loader, DataLoader):
            loader._iterator = workers

    return restore


def _generator(value: Any) -> Restore | None:
    """Put back a random generator; None for any other value."""
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    return None


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
