"""The batches of a workload: a loader without end, and every batch moved to the device."""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lrtool.errors import WorkloadError
from lrtool.workload.user_code import POSITIONAL, parameters_of
from lrtool.workload.workload import Workload, empty_loader


class LoaderEnded(WorkloadError):
    """A one-shot iterator has no batches left and cannot be started again."""

    def __init__(self) -> None:
        super().__init__(
            "train_loader ended and, being an iterator, cannot start again",
            hint="give the DataLoader or list itself, not iter(...) or a generator",
        )


class Batches:
    """Batches of a loader without end: started again whenever it ends.

    `epoch_length` is the number of batches of the last whole epoch, None during the first. Iterating raises
    WorkloadError where the loader is empty, LoaderEnded where it was a one-shot iterator and is used up.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self.epoch_length: int | None = None
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        while True:
            count = 0
            epoch = iter(self._loader)
            try:
                for batch in epoch:
                    count += 1
                    yield batch
            except Exception:
                _stop_workers(epoch)
                raise
            if count == 0:
                raise empty_loader() if self.epoch_length is None else LoaderEnded
            self.epoch_length = count


def _stop_workers(epoch: Iterator[Any]) -> None:
    """Stop a DataLoader's workers at once.

    The traceback of what one of them raised holds on to them, and the garbage collector, which would stop them in the end,
    takes away their queues first: then it waits ten seconds for them, and kills them with a noise.
    """
    stop = getattr(epoch, "_shutdown_workers", None)
    if stop is not None:
        stop()


def batch_source(workload: Workload, device: torch.device, batches: Batches) -> Callable[[], Any]:
    """A function that gives the next batch, on `device`: by the workload's own `prepare` where it has one."""
    iterator = iter(batches)
    advance = iterator.__next__
    if workload.prepare is None and device.type == "cpu":
        return advance
    prepare = prepared(workload, device)
    return lambda: prepare(advance())


def prepared(workload: Workload, device: torch.device) -> Callable[[Any], Any]:
    """A function that puts a batch on `device`: the workload's own `prepare` where it has one."""
    if workload.prepare is not None:
        return _with_device(workload.prepare, device)
    return lambda batch: move(batch, device)


def _with_device(prepare: Callable[..., Any], device: torch.device) -> Callable[[Any], Any]:
    """`prepare` as a function of the batch alone: the device goes to its parameter `device`, or to its second one."""
    parameters = parameters_of(prepare)
    if any(p.name == "device" and p.kind is not p.POSITIONAL_ONLY for p in parameters):
        return partial(prepare, device=device)
    if sum(p.kind in POSITIONAL and p.default is p.empty for p in parameters) >= 2:
        return lambda batch: prepare(batch, device)
    return prepare


def move(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in its nested tuples, lists and dicts on `device`, copied without waiting."""
    if callable(getattr(batch, "to", None)):
        return _moved_by_itself(batch, device)
    if isinstance(batch, Mapping):
        moved = copy(batch) if isinstance(batch, MutableMapping) else {}
        for key, value in batch.items():
            moved[key] = move(value, device)
        return moved
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move(value, device) for value in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(move(value, device) for value in batch)
    return batch


def _moved_by_itself(batch: Any, device: torch.device) -> Any:
    try:
        return batch.to(device, non_blocking=True)
    except TypeError:
        if isinstance(batch, Tensor):
            raise
        return batch.to(device)  # its `to` knows a device alone
