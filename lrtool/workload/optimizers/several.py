"""Several optimizers of one training, as one: what a dict or list of them in a workload becomes."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from lrtool.errors import UsageError, WorkloadError, did_you_mean


class Optimizers(torch.optim.Optimizer):
    """All of them under their names: its groups are those of all, and it steps them one after the other.

    `given` is the dict or list that the user's own step gets. One of them may be `watched`: the loss of a step is
    its own then.
    """

    def __init__(self, named: Mapping[str, torch.optim.Optimizer], given: Any) -> None:
        # not Optimizer's own, which would make groups of its own
        self.named, self.given = dict(named), given
        self.watched: str | None = None
        self.param_groups = [group for each in self.named.values() for group in each.param_groups]
        first, *others = (each.defaults for each in self.named.values())
        self.defaults = {key: value for key, value in first.items() if all(key in other for other in others)}

    @property
    def state(self) -> dict[Tensor, Any]:  # type: ignore[override]
        return {parameter: state for each in self.named.values() for parameter, state in each.state.items()}

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for each in self.named.values():
            each.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for each in self.named.values():
            each.zero_grad(set_to_none=set_to_none)

    def watching(self, name: str | None) -> "Optimizers":
        """The same optimizers, with the one of that name watched; without a name the first. Raises UsageError."""
        others = copy(self)
        others.watched = next(iter(self.named)) if name is None else self._known(name)
        return others

    def _known(self, name: str) -> str:
        """Its name, from that or from its place."""
        names = list(self.named)
        if name in names:
            return name
        if name.isdigit() and int(name) < len(names):
            return names[int(name)]
        raise UsageError(f"there is no optimizer {name!r}", hint=did_you_mean(name, names))

    def __reduce__(self) -> Any:
        return type(self), (self.named, self.given)


def as_optimizer(given: Any, model: Any) -> Any:
    """What stands under `optimizer` in a workload: a dict or list of optimizers becomes one, anything else stays."""
    if isinstance(given, Mapping):
        named = {str(name): each for name, each in given.items()}
    elif isinstance(given, Sequence) and not isinstance(given, str):
        named = dict(zip(_names(given, model), given, strict=True))
    else:
        return given
    if not named:
        raise WorkloadError("optimizer is empty: it holds no optimizer", hint="give one, or several by name")
    for name, each in named.items():
        if not isinstance(each, torch.optim.Optimizer):
            raise WorkloadError(
                f"optimizer {name!r} is no torch.optim.Optimizer but a {type(each).__name__}",
                hint='several optimizers are a dict, {"g": ..., "d": ...}, or a list of them',
            )
    return Optimizers(named, given)


def all_optimizers(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """Those that it stands for: of several each."""
    return list(optimizer.named.values()) if isinstance(optimizer, Optimizers) else [optimizer]


def given_optimizer(optimizer: torch.optim.Optimizer) -> Any:
    """What the user's own step gets: of several the dict or list as it was returned."""
    return optimizer.given if isinstance(optimizer, Optimizers) else optimizer


def _names(given: Sequence[Any], model: Any) -> list[str]:
    """What each trains is its name, where that is a submodule for each of them; else its place."""
    children = {name: {id(p) for p in child.parameters()} for name, child in _named_children(model)}
    found = []
    for number, each in enumerate(given):
        groups = getattr(each, "param_groups", [])
        held = {id(parameter) for group in groups for parameter in group["params"]}
        found.append(next((name for name, own in children.items() if own and own == held), str(number)))
    return found if len(set(found)) == len(found) else [str(number) for number in range(len(found))]


def _named_children(model: Any) -> list[tuple[str, nn.Module]]:
    return list(model.named_children()) if isinstance(model, nn.Module) else []
