"""The optimizers that an optimizer steps with: those it keeps in its attributes, as SAM, Lookahead and ZeRO do."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim import Optimizer


def with_inner(optimizer: Optimizer) -> list[Optimizer]:
    """The optimizer, and every other that its attributes lead to, through lists, tuples and dicts too; each once."""
    return list(_found_in(optimizer, {}))


def _found_in(value: Any, seen: dict[int, Any]) -> Iterator[Optimizer]:
    if id(value) in seen or not isinstance(value, Optimizer | Mapping | list | tuple):
        return
    seen[id(value)] = value
    if isinstance(value, Optimizer):
        yield value
        for name, each in vars(value).items():
            if name not in ("state", "param_groups", "defaults"):
                yield from _found_in(each, seen)
        return
    for each in value.values() if isinstance(value, Mapping) else value:
        yield from _found_in(each, seen)
