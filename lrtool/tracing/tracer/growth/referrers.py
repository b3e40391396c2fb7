"""Who keeps storages alive: the Python container, its name in the user's code, and the line that puts things into it."""

import gc
import linecache
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import CellType, FunctionType
from typing import Any, cast

import torch
from torch import Tensor, nn

from lrtool.results import GraphKept
from lrtool.results.mem_sweep import LRU_CACHE
from lrtool.tracing.tracer.growth.emptying import lines_of_scope, takes_out
from lrtool.workload.user_code import is_cached_users_file, is_users_file, users_files

MAX_NODES = 20_000
MIN_CHAIN_STEPS = 3
"""A graph that holds what so many steps made is carried from step to step."""
_CONTAINERS = (list, dict, set, deque, tuple)
_MAX_NESTING = 4
_LRU_CACHE = type(cache(len))
_MAX_NAMED_TENSORS = 6
_STORING = r"\.(?:append|extend|add|update|appendleft|insert|setdefault)\(|\[[^\]]*\]\s*[-+*/|]?=(?!=)|\s*[-+*/|]=(?!=)"
_ASSIGNING = r"\s*=(?!=)"


@dataclass(frozen=True, slots=True)
class Referrer:
    """What holds a tensor, by its name in the user's code; `stored_at` is `file.py:line source`, None where it was not found.

    `may_end` is False where the user's file takes nothing out of it, and None where that is not known. Of a container with a
    largest length, `max_items` is that and `num_items` what it holds now.
    """

    name: str | None
    stored_at: str | None
    may_end: bool | None = None
    num_items: int | None = None
    max_items: int | None = None


class ReferrerSearch:
    """One look through all tensors of the process; `referrer_of` then names who holds given storages."""

    def __init__(self, births: Mapping[int, int], *, device_type: str) -> None:
        """`births` are the storages that may pile up, by address, with the step in which each was born."""
        self._births = births
        found = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
        found = [each for each in found if each.device.type == device_type]
        tensors = [each for each in found if not isinstance(each, nn.Parameter)]
        gradients = [each.grad for each in found if isinstance(each, nn.Parameter) and each.grad is not None]
        self._kept = _kept_by(tensors, births)
        self._kept_by_gradients = _kept_by([each for each in gradients if each.grad_fn is not None], births)
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

    def graph_of(self, storages: frozenset[int]) -> GraphKept | None:
        """How a graph keeps any of `storages`; None where tensors without a graph do."""
        if any(kept & storages for _, kept in self._kept_by_gradients):
            return "gradients"
        graphs = [(tensor, kept) for tensor, kept in self._kept if kept & storages and tensor.grad_fn is not None]
        if not graphs:
            return None
        tensor, kept = max(graphs, key=lambda each: len(each[1]))
        if len({self._births[key] for key in kept}) < MIN_CHAIN_STEPS:
            return "each"
        return "summed" if tensor.numel() == 1 else "chained"


def _kept_by(tensors: Iterable[Tensor], births: Mapping[int, int]) -> list[tuple[Tensor, frozenset[int]]]:
    kept = ((each, frozenset(kept_storages(each) & births.keys())) for each in tensors)
    return [(tensor, found) for tensor, found in kept if found]


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
        elif (key := _attribute_of(referrer, value)) is not None:
            yield from _of_owner(referrer, key, referrers, depth)
        elif isinstance(referrer, _CONTAINERS) or _is_users_object(referrer):
            yield from (_with_length(each, referrer) for each in _named_referrers(referrer, referrers, depth + 1))


def _with_length(holder: Referrer, container: object) -> Referrer:
    """The holder of a container with a largest length has that one."""
    if not isinstance(container, deque) or container.maxlen is None:
        return holder
    return replace(holder, may_end=True, num_items=len(container), max_items=container.maxlen)


def _attribute_of(owner: object, value: object) -> str | None:
    """By what name an object of a user's class holds a value: since Python 3.11 there need not be a dict between them."""
    module = sys.modules.get(type(owner).__module__)
    if isinstance(owner, type) or not is_cached_users_file(getattr(module, "__file__", None) or "<none>"):
        return None
    return next((key for key, each in getattr(owner, "__dict__", {}).items() if each is value), None)


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
                    code = function.__code__
                    title = f"{name} of {_plain(function.__qualname__)}()"
                    yield _holder(title, name, code.co_filename, code.co_firstlineno)


def _of_dict(holder: dict[Any, Any], value: object, referrers: _Referrers, depth: int) -> Iterator[Referrer]:
    key = next((key for key, each in holder.items() if each is value), None)
    if key is None:
        return
    if "__name__" in holder and "__builtins__" in holder:
        file = holder.get("__file__")
        if file and is_users_file(file):
            yield _holder(f"{key} of module {holder['__name__']}", str(key), file)
        return
    around = referrers.of(holder)
    owner = next((each for each in around if getattr(each, "__dict__", None) is holder), None)
    if owner is None:
        owner = next((each for each in around if isinstance(each, type) and vars(each).get(key) is value), None)
    if owner is None:
        yield from _caches(holder, referrers)
        yield from _named_referrers(holder, referrers, depth + 1)
        return
    yield from _of_owner(owner, str(key), referrers, depth)


def _of_owner(owner: object, key: str, referrers: _Referrers, depth: int) -> Iterator[Referrer]:
    """An attribute of an object, or of a class."""
    kind = owner if isinstance(owner, type) else type(owner)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file and is_users_file(file):
        yield _attribute(f"{kind.__name__}.{key}", key, file)
    elif not isinstance(owner, Tensor):
        added = _added_by_user(kind, key)
        yield from [added] if added is not None else _named_referrers(owner, referrers, depth + 1)


def _attribute(name: str, key: str, file: str) -> Referrer:
    """An attribute, which other files may empty too than that of its class."""
    holder = _holder(name, key, file)
    others = (takes_out(key, each) for each in users_files() if each != file)
    return replace(holder, may_end=True) if any(others) else holder


def _added_by_user(kind: type, key: str) -> Referrer | None:
    """An attribute that user code hangs on an object of a library, as hooks do: `module.activations.append(x)`."""
    holders = (_attribute(f"{kind.__name__}.{key}", key, file) for file in users_files())
    return next((each for each in holders if each.stored_at is not None), None)


def _caches(holder: dict[Any, Any], referrers: _Referrers) -> Iterator[Referrer]:
    """`functools.lru_cache` of a function in user code, which keeps what that returned."""
    for cache_of in referrers.of(holder):
        function = getattr(cache_of, "__wrapped__", None)
        if isinstance(cache_of, _LRU_CACHE) and isinstance(function, FunctionType):
            code = function.__code__
            if is_users_file(code.co_filename):
                line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
                place = f"{Path(code.co_filename).name}:{code.co_firstlineno} {line}"
                about = cache_of.cache_info()
                name = f"{LRU_CACHE} of {_plain(function.__qualname__)}"
                yield Referrer(name, place, num_items=about.currsize, max_items=about.maxsize)


def _plain(qualified_name: str) -> str:
    return qualified_name.replace(".<locals>", "")


@cache
def _holder(name: str, variable: str, filename: str, line: int | None = None) -> Referrer:
    """With a `line`, the variable is one of the function around it."""
    scope = None if line is None else lines_of_scope(filename, line)
    stored = (_storing_line(variable, filename, pattern, scope) for pattern in (_STORING, _ASSIGNING))
    return Referrer(name, next(filter(None, stored), None), may_end=takes_out(variable, filename, line))


def _storing_line(variable: str, filename: str, pattern: str, scope: tuple[int, int] | None) -> str | None:
    """`file.py:line source` of the last line that stores into `variable`, or into a container in it."""
    stores: Callable[[str], object] = re.compile(rf"\b{re.escape(variable)}(?:\[[^\]]*\])*(?:{pattern})").search
    try:
        lines = Path(filename).read_text(errors="replace").splitlines()
    except OSError:
        return None
    first, last = scope or (1, len(lines))
    numbered = list(enumerate(lines, 1))[first - 1 : last]
    found = [(number, line.strip()) for number, line in numbered if stores(line.partition("#")[0])]
    return f"{Path(filename).name}:{found[-1][0]} {found[-1][1]}" if found else None
