"""What an optimizer keeps: put back in place, through all that its attributes lead to.

SAM, Lookahead and ZeroRedundancyOptimizer step with an optimizer of their own; others keep slow weights, counters and windows
in attributes. Tensors, containers and objects stay the ones they are and get their old contents back.
"""

import inspect
import random
import types
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence, MutableSet
from contextlib import ExitStack
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrtool.errors import WorkloadError
from lrtool.workload.optimizers.inner import with_inner
from lrtool.workload.workload import Workload

DEEPEST = 3
"""Objects of other classes on the way from an optimizer: beyond, it is no longer the optimizer's."""
_NOT_ENTERED = ("torch.distributed", "torch._C", "threading", "logging")
_ATOMS = (type, Enum, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, str, bytes)

Restore = Callable[[], object]


def optimizers_of(workload: Workload) -> list[Optimizer]:
    """The workload's optimizer, those inside it, and those that its `step` and `loss` refer to, each once."""
    held = [value for function in (workload.step, workload.loss) for value in _named_in(function)]
    found = [each for outer in (workload.optimizer, *held) for each in with_inner(outer)]
    return list({id(each): each for each in found}.values())


def optimizer_state(workload: Workload) -> Restore:
    """Put back all optimizers of a workload, and the schedulers and gradient scalers that its `step` and `loss` refer to.

    Raises WorkloadError for what cannot be put back, such as a generator.
    """
    owned = (*workload.model.parameters(), *workload.model.buffers(), *workload.model.modules())
    keeper = _Keeper({id(each) for each in owned})
    for optimizer in optimizers_of(workload):
        keeper.keep(optimizer, name=type(optimizer).__name__)
    for function in (workload.step, workload.loss):
        for value in _named_in(function):
            if isinstance(value, LRScheduler | torch.amp.GradScaler):
                keeper.keep(value, name=type(value).__name__)
    return keeper.stack.close


def _named_in(function: Any) -> Iterator[Any]:
    """What a function refers to from outside: closure, globals, the object it is a method of, a partial's arguments."""
    if isinstance(function, partial):
        yield from (*function.args, *function.keywords.values(), *_named_in(function.func))
    elif inspect.isfunction(function) or inspect.ismethod(function):
        if inspect.ismethod(function):
            yield from vars(function.__self__).values() if hasattr(function.__self__, "__dict__") else ()
        try:
            names = inspect.getclosurevars(function)
        except ValueError:  # a variable of the closure that has no value yet
            return
        yield from (*names.nonlocals.values(), *names.globals.values())


class _Keeper:
    """Collects on its stack how to put back the values handed to it, each once; what it holds on to keeps their ids valid."""

    def __init__(self, seen: set[int]) -> None:
        self.stack = ExitStack()
        self._seen = seen
        self._held: list[Any] = []

    def keep(self, value: Any, *, name: str, depth: int = 0) -> None:
        if id(value) in self._seen or isinstance(value, _ATOMS):
            return
        self._seen.add(id(value))
        self._held.append(value)
        children = self._contents(value, name, depth)
        for key, each in children:
            self.keep(
                each,
                name=f"{name}.{key}",
                depth=depth + (not isinstance(value, Optimizer)) * hasattr(value, "__dict__"),
            )

    def _contents(self, value: Any, name: str, depth: int) -> list[tuple[Any, Any]]:
        """Note how to put back a value itself, and return what it holds."""
        direct = _of_leaf(value)
        if direct is not None:
            self.stack.callback(direct)
            return []
        if isinstance(value, nn.Module):
            return [*_numbered(value.parameters()), *_numbered(value.buffers())]
        if isinstance(value, MutableMapping | MutableSequence | MutableSet | deque):
            self.stack.callback(_of_container(value))
            return list(value.items()) if isinstance(value, MutableMapping) else _numbered(value)
        if isinstance(value, tuple):
            return _numbered(value)
        if isinstance(value, types.GeneratorType):
            raise _unrestorable(name)
        return self._of_object(value, depth)

    def _of_object(self, value: Any, depth: int) -> list[tuple[Any, Any]]:
        is_optimizer = isinstance(value, Optimizer)
        if not hasattr(value, "__dict__") or (
            not is_optimizer and (depth >= DEEPEST or type(value).__module__.startswith(_NOT_ENTERED))
        ):
            return []
        attributes = vars(value)
        self.stack.callback(_of_container(attributes))
        return list(attributes.items())


def _numbered(values: Any) -> list[tuple[Any, Any]]:
    return list(enumerate(values))


def _of_leaf(value: Any) -> Restore | None:
    """How to put back a value that holds no others; None for one that may."""
    if isinstance(value, Tensor):
        return tensor_values(value)
    if isinstance(value, np.ndarray):
        return partial(np.copyto, value, value.copy())
    return generator_state(value)


def _of_container(value: Any) -> Restore:
    entries = dict(value) if isinstance(value, MutableMapping) else list(value)
    if isinstance(value, MutableSet):
        return partial(_refill, value, entries)

    def restore() -> None:
        value.clear()
        (value.update if isinstance(value, MutableMapping) else value.extend)(entries)

    return restore


def _refill(values: Any, entries: Any) -> None:
    values.clear()
    for each in entries:
        values.add(each)


def tensor_values(tensor: Tensor) -> Restore:
    """Put back a tensor's values, in place, and the memory they stand in, if the run gave it another."""
    data = tensor.detach()
    once = data[tuple(slice(1) if stride == 0 else slice(None) for stride in data.stride())]  # of an expanded one
    copy = once.to("cpu", copy=True)

    def restore() -> None:
        once.copy_(copy)
        if tensor.data_ptr() != data.data_ptr():
            tensor.data = data

    return restore


def generator_state(value: Any) -> Restore | None:
    """Put back a random generator; None for any other value."""
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    return None


def _unrestorable(name: str) -> WorkloadError:
    return WorkloadError(
        f"{name} is a generator, which cannot be put back after the run",
        hint="hand over a factory, which is built afresh, instead of live objects",
    )
