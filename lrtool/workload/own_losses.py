"""The loss of one optimizer among several: what was differentiated for the step it takes.

In a GAN the generator and the discriminator have a loss each, and the one gains by what the other loses: an LR is judged by
the loss that its optimizer works on. Between two optimizer steps `backward` is called on what the next one is to lower; where
no new backward pass came before a step, as when one pass serves two optimizers, it is the loss of the step before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from lrtool.errors import WorkloadError
from lrtool.workload.optimizers.several import Optimizers


@contextmanager
def differentiated() -> Iterator[list[Tensor]]:
    """The losses that `backward` is called on in the body, detached, in order."""
    original, losses = torch.autograd.backward, list[Tensor]()

    def backward(tensors: Any, *arguments: Any, **named: Any) -> None:
        given = tensors if isinstance(tensors, Sequence) else [tensors]
        losses.extend(each.detach() for each in given if isinstance(each, Tensor) and each.numel() == 1)
        original(tensors, *arguments, **named)

    torch.autograd.backward = backward
    try:
        yield losses
    finally:
        torch.autograd.backward = original


def own_loss_of(optimizer: torch.optim.Optimizer) -> Callable[[Callable[[], Any]], Any]:
    """A function that takes a step and returns its loss: of several optimizers that of the watched one."""
    if not isinstance(optimizer, Optimizers):
        return lambda step: step()
    if optimizer.watched is not None:
        return OwnLosses(optimizer).of_step

    def plain(step: Callable[[], Any]) -> Any:
        returned = step()
        return _named(returned, optimizer) if isinstance(returned, Mapping) else returned

    return plain


def _named(returned: Mapping[Any, Any], optimizer: Optimizers) -> Any:
    """From a dict with the loss of each optimizer by its name."""
    watched = optimizer.watched or next(iter(optimizer.named))
    if watched not in returned and "loss" not in returned:
        raise WorkloadError(
            f"step() returned a dict of {', '.join(map(str, returned)) or 'nothing'}",
            hint=f"return the loss of each optimizer by its name: {', '.join(optimizer.named)}",
        )
    return returned[watched] if watched in returned else returned["loss"]


class OwnLosses:
    """Follows one training step after the other."""

    def __init__(self, optimizers: Optimizers) -> None:
        self._optimizers = optimizers
        self._new: list[Tensor] = []
        self._last: Tensor | None = None
        self._losses: dict[str, Tensor] = {}

    def of_step(self, step: Callable[[], Any]) -> Any:
        """Take the step; the loss of the watched optimizer, or the returned one where all work on the same.

        Raises WorkloadError for a dict without it.
        """
        with self._following():
            returned = step()
        if isinstance(returned, Mapping):
            return _named(returned, self._optimizers)
        watched = self._losses.get(self._optimizers.watched or "")
        is_shared = len({id(loss) for loss in self._losses.values()}) <= 1
        return returned if watched is None or is_shared else watched

    @contextmanager
    def _following(self) -> Iterator[None]:
        with ExitStack() as stack:
            self._new = stack.enter_context(differentiated())
            for name, each in self._optimizers.named.items():
                stack.callback(each.register_step_pre_hook(self._stepping(name)).remove)
            yield

    def _stepping(self, name: str) -> Callable[..., None]:
        def before(*_: Any) -> None:
            if self._new:
                self._last = torch.stack([each.reshape(()) for each in self._new]).sum()
                self._new.clear()
            if self._last is not None:
                self._losses[name] = self._last

        return before
