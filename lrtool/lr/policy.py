"""Whether a training step is that of a policy gradient: it samples from a distribution, and takes log-probabilities.

A loss made so is a surrogate: its gradient is that of the return, its value is not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.distributions import Distribution


class PolicyWatch:
    """A step whose first call is looked at; `samples_actions` says what was seen."""

    def __init__(self, step: Callable[[], Tensor]) -> None:
        self._step = step
        self._called: set[str] = set()
        self._is_first = True

    @property
    def samples_actions(self) -> bool:
        """Whether the step called both sample() and log_prob() of a distribution; rsample() leads the gradient through."""
        return self._called >= {"sample", "log_prob"}

    def __call__(self) -> Tensor:
        if not self._is_first:
            return self._step()
        self._is_first = False
        with _noting(self._called):
            return self._step()


@contextmanager
def _noting(called: set[str]) -> Iterator[None]:
    """Note which of the methods are called, of any distribution."""
    methods = [(kind, name) for kind in _kinds(Distribution) for name in ("sample", "log_prob") if name in vars(kind)]
    before = [(kind, name, vars(kind)[name]) for kind, name in methods]
    try:
        for kind, name, method in before:
            setattr(kind, name, _noted(method, name, called))
        yield
    finally:
        for kind, name, method in before:
            setattr(kind, name, method)


def _kinds(kind: type) -> Iterator[type]:
    yield kind
    below: type
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _noted(method: Any, name: str, called: set[str]) -> Any:
    def noted(*arguments: Any, **named: Any) -> Any:
        called.add(name)
        return method(*arguments, **named)

    return noted
