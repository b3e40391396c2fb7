"""Who keeps storages alive: the Python container, its name in the user's code, and the line that puts things into it."""

import gc
import linecache
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CellType, FunctionType
from typing import Any, cast

import torch
from torch import Tensor, nn

from lrtool.results.mem_sweep import LRU_CACHE
from lrtool.workload.user_code import is_users_file

MAX_NODES = 20_000
_CONTAINERS = (list, dict, set, deque, tuple)
_MAX_NESTING = 4
_LRU_CACHE = type(cache(len))
_MAX_NAMED_TENSORS = 6
_STORING = r"\.(?:append|extend|add|update|appendleft|insert|setdefault)\(|\[[^\]]*\]\s*[-+*/|]?=(?!=)|\s*[-+*/|]=(?!=)"
_ASSIGNING = r"\s*=(?!=)"


@dataclass(frozen=True, slots=True)
class Referrer:
    """A container by its name in the user's code; `stored_at` is `file.py:line source`, None where it was not found."""

    name: str
    stored_at: str | None


class ReferrerSearch:
    """One look through all tensors of the process; `referrer_of` then names who holds given storages."""

    def __init__(self, storages: frozenset[int], *, device_type: str) -> None:
        tensors = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
        tensors = [each for each in tensors if not isinstance(each, nn.Parameter) and each.device.type == device_type]
        kept = ((each, kept_storages(each) & storages) for each in tensors)
        self._kept = [(tensor, found) for tensor, found in kept if found]
        self._names: dict[int, set[Referrer]] = {}
        self._referrers = _Referrers(tensors, self._kept)

    def referrer_of(self, storages: frozenset[int]) -> Referrer | None:
        """What holds most of `storages` (by address), itself or through a tensor's graph; None where nothing is found."""
        found: Counter[Referrer] = Counter()
        shares = [(len(kept & storages), tensor) for tensor, kept in self._kept]
        holding = sorted((share for share in shares if share[0]), key=lambda share: -share[0])
        for _, tensor in holding[:_MAX_NAMED_TENSORS]:  # a loss keeps all of its graph, a tensor within it a part
            if id(tensor) not in self._names:
                self._names[id(tensor)] = set(_named_referrers(tensor, self._referrers))
            found.update(self._names[id(tensor)])
        return max(found, key=lambda each: (each.stored_at is not None, found[each]), default=None)

    def has_graph(self, storages: frozenset[int]) -> bool:
        """Whether a tensor with a graph behind it keeps any of `storages`."""
        return any(kept & storages and tensor.grad_fn is not None for tensor, kept in self._kept)


def kept_storages(tensor: Tensor) -> set[int]:
    """Addresses of the storages that live as long as `tensor`: its own and those its autograd graph saved."""
    kept = {tensor.untyped_storage()._cdata} if tensor.layout is torch.strided else set()
    seen: set[Any] = set()
    waiting = [tensor.grad_fn]
    while waiting and len(seen) < MAX_NODES:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        kept.update(saved.untyped_storage()._cdata for saved in _saved_tensors(node))
        waiting.extend(following for following, _ in node.next_functions)
    return kept


def _saved_tensors(node: Any) -> Iterator[Tensor]:
    for name in _saved_names(cast(Hashable, type(node))):
        try:
            value = getattr(node, name)
        except RuntimeError:  # freed by backward
            return
        yield from (
            each for each in (value if isinstance(value, tuple | list) else (value,)) if isinstance(each, Tensor)
        )


@cache
def _saved_names(kind: Hashable) -> tuple[str, ...]:
    return tuple(name for name in dir(kind) if name.startswith("_saved_") or name == "saved_tensors")


class _Referrers:
    """What refers to an object. A look passes over all objects of the process, and so is taken once for each."""

    def __init__(self, *ignored: list[Any]) -> None:
        self._of: dict[int, list[Any]] = {}
        self._values: list[object] = []  # kept alive, so that no other object gets their ids
        self._own = {id(each) for each in (*ignored, self._values)}

    def of(self, value: object) -> list[Any]:
        if id(value) not in self._of:
            found = [each for each in gc.get_referrers(value) if id(each) not in self._own]
            self._of[id(value)] = found
            self._values.append(value)
            self._own.add(id(found))
        return self._of[id(value)]


def _named_referrers(value: object, referrers: _Referrers, depth: int = 0) -> Iterator[Referrer]:
    """Names by which user code reaches `value`, through nested containers."""
    if depth > _MAX_NESTING:
        return
    for referrer in referrers.of(value):
        if isinstance(referrer, CellType):
            yield from _closures(referrer, referrers)
        elif isinstance(referrer, dict):
            yield from _of_dict(referrer, value, referrers, depth)
        elif isinstance(referrer, _CONTAINERS) or _is_users_object(referrer):
            yield from _named_referrers(referrer, referrers, depth + 1)


def _is_users_object(value: object) -> bool:
    """An object without a __dict__ of its own, such as one with slots, of a class in user code."""
    module = sys.modules.get(type(value).__module__)
    return is_users_file(getattr(module, "__file__", None) or "<none>") and not hasattr(value, "__dict__")


def _closures(cell: CellType, referrers: _Referrers) -> Iterator[Referrer]:
    for cells in referrers.of(cell):
        if not isinstance(cells, tuple):
            continue
        for function in referrers.of(cells):
            if isinstance(function, FunctionType) and function.__closure__ is cells:
                name = function.__code__.co_freevars[[each is cell for each in cells].index(True)]
                if is_users_file(function.__code__.co_filename):
                    yield _holder(f"{name} of {_plain(function.__qualname__)}()", name, function.__code__.co_filename)


def _of_dict(holder: dict[Any, Any], value: object, referrers: _Referrers, depth: int) -> Iterator[Referrer]:
    key = next((key for key, each in holder.items() if each is value), None)
    if key is None:
        return
    if "__name__" in holder and "__builtins__" in holder:
        file = holder.get("__file__")
        if file and is_users_file(file):
            yield _holder(f"{key} of module {holder['__name__']}", str(key), file)
        return
    owner = next((each for each in referrers.of(holder) if getattr(each, "__dict__", None) is holder), None)
    if owner is None:
        yield from _caches(holder, referrers)
        yield from _named_referrers(holder, referrers, depth + 1)
        return
    file = getattr(sys.modules.get(type(owner).__module__), "__file__", None)
    if file and is_users_file(file):
        yield _holder(f"{key} of {type(owner).__name__}", str(key), file)
    elif not isinstance(owner, Tensor):
        yield from _named_referrers(owner, referrers, depth + 1)


def _caches(holder: dict[Any, Any], referrers: _Referrers) -> Iterator[Referrer]:
    """`functools.lru_cache` of a function in user code, which keeps what that returned."""
    for cache_of in referrers.of(holder):
        function = getattr(cache_of, "__wrapped__", None)
        if isinstance(cache_of, _LRU_CACHE) and isinstance(function, FunctionType):
            code = function.__code__
            if is_users_file(code.co_filename):
                line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
                place = f"{Path(code.co_filename).name}:{code.co_firstlineno} {line}"
                yield Referrer(f"{LRU_CACHE} of {_plain(function.__qualname__)}", place)


def _plain(qualified_name: str) -> str:
    return qualified_name.replace(".<locals>", "")


@cache
def _holder(name: str, variable: str, filename: str) -> Referrer:
    line = _storing_line(variable, filename, _STORING) or _storing_line(variable, filename, _ASSIGNING)
    return Referrer(name, line)


def _storing_line(variable: str, filename: str, pattern: str) -> str | None:
    """`file.py:line source` of the last line that stores into `variable`, or into a container in it."""
    stores: Callable[[str], object] = re.compile(rf"\b{re.escape(variable)}(?:\[[^\]]*\])*(?:{pattern})").search
    try:
        lines = Path(filename).read_text(errors="replace").splitlines()
    except OSError:
        return None
    found = [(number, line.strip()) for number, line in enumerate(lines, 1) if stores(line.partition("#")[0])]
    return f"{Path(filename).name}:{found[-1][0]} {found[-1][1]}" if found else None
