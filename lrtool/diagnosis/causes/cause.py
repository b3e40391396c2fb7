"""A cause of high memory use: a function that finds it in a run's figures, registered where it is written. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Literal

from lrtool.diagnosis import causes
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import Finding

Group = Literal["growth", "retry", "outside", "waste", "fragmentation", "capacity", "untold"]
Find = Callable[[RunFigures, str], Finding | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A cause's machine-readable name, the group in which it is judged, and the function that finds it."""

    name: str
    group: Group
    find: Find


_REGISTERED: list[Cause] = []


def cause(name: str, group: Group) -> Callable[[Find], Find]:
    """Register the function below as what finds the cause `name`, which it is told; a group keeps the order of its file."""

    def register(find: Find) -> Find:
        _REGISTERED.append(Cause(name=name, group=group, find=find))
        return find

    return register


@cache
def all_causes() -> tuple[Cause, ...]:
    """The causes of every module of this folder: by module, and in each by place."""
    for module in iter_modules(causes.__path__, f"{causes.__name__}."):
        import_module(module.name)
    return tuple(sorted(_REGISTERED, key=lambda each: each.find.__module__))
