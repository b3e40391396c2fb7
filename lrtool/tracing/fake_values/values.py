"""What tensors on the fake GPU hold, as far as it follows from the batch or is cheap to compute along on the CPU.

Masks, lengths and losses decide what a program does; a question about them is answered as it would be on a GPU. The values
belong to a storage, so that views and writes through any of them agree.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree
from torch.utils._mode_utils import no_dispatch

from lrtool.tracing.fake_values.cpu_kernels import substitute

_CPU = torch.device("cpu")
_FOLLOWED = ("aten", "torchvision")
_UNINITIALIZED = frozenset({"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided"})
_FROM_SHAPES = _UNINITIALIZED | {"zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like",
                                 "new_zeros", "new_ones", "new_full"}  # fmt: skip
_OVERWRITES = frozenset({"copy_", "fill_", "zero_", "uniform_", "normal_", "random_", "bernoulli_", "exponential_",
                         "cauchy_", "log_normal_", "geometric_"})  # fmt: skip
"""In-place operators after which nothing is left of what was there."""
_CHANGES_STORAGE = frozenset({"set_", "resize_", "resize_as_"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Up to how many elements values are followed: of whole numbers and truth values, and of floating-point numbers."""

    whole: int = 2**20
    floating: int = 2**16


FROM_THE_BATCH = Limits()
EVERYTHING = Limits(whole=2**40, floating=2**40)
"""As in a run on the CPU."""


class _Held:
    """What a storage of the fake GPU holds; `is_drawn` where random numbers or weights had a part in it."""

    __slots__ = ("is_drawn", "storage")

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self.storage, self.is_drawn = storage, False


def values_of(tensor: Tensor) -> Tensor | None:
    """What a tensor holds, on the CPU, as a view that later writes change; None where that is not known."""
    if not isinstance(tensor, FakeTensor):
        return tensor if tensor.device.type == "cpu" else None
    held = _held(tensor)
    return tensor.constant if held is None else _view(held.storage, tensor)


def number_in(tensor: Tensor) -> Any:
    """The number that a tensor of one element holds; None where it is not known."""
    values = values_of(tensor)
    if values is None:
        return None
    with no_dispatch():
        return values.item()


def is_drawn(tensor: Tensor) -> bool:
    """Whether random numbers or weights had a part in what a tensor holds, so that a GPU's would differ a little."""
    held = _held(tensor) if isinstance(tensor, FakeTensor) else None
    return held is not None and held.is_drawn


def hold(tensor: Tensor, values: Tensor) -> None:
    """Say what a fake tensor holds; where the layouts agree, it shares memory with `values`."""
    with no_dispatch():
        storage, own = tensor.untyped_storage(), values.untyped_storage()
        is_alike = values.dtype == tensor.dtype and values.stride() == tensor.stride()
        if not is_alike or own.nbytes() != storage.nbytes() or values.storage_offset() != tensor.storage_offset():
            own = torch.UntypedStorage(storage.nbytes())
            _view(own, tensor).copy_(values)
        storage._lrtool_held = _Held(own)  # type: ignore[attr-defined]


def forget(tensor: Tensor) -> None:
    """What a fake tensor's storage holds is not known any more."""
    if isinstance(tensor, FakeTensor) and _held(tensor) is not None:
        del tensor.untyped_storage()._lrtool_held  # type: ignore[attr-defined]


def computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor] | None:
    """What `func` yields on the CPU; None where an argument is not known, or the CPU cannot do it."""
    if not all(map(is_known, _tensors((args, kwargs)))):
        return None
    try:
        with no_dispatch():
            args, kwargs = _pytree.tree_map(_on_cpu, (args, kwargs))
            return list(_tensors(func(*args, **kwargs)))
    except Exception:  # a form of the operator that the CPU does not have
        return None


class ValueFollower:
    """Keeps the values that operators make and write, where those of their arguments are known.

    Random numbers come from a generator of its own, so that what the program draws on the CPU stays as it was.
    """

    def __init__(self, limits: Limits = FROM_THE_BATCH) -> None:
        self._limits = limits
        self._random_state = torch.get_rng_state()

    @property
    def follows_all(self) -> bool:
        return self._limits == EVERYTHING

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """`func` was called on the fake GPU and returned `out`."""
        if _is_view(func):
            return
        tensors, made = list(_tensors((args, kwargs))), list(_tensors(out))
        if not any(isinstance(each, FakeTensor) for each in (*made, *tensors)):
            return
        written = _written(func, args, kwargs)
        if not self._can_follow(func, tensors, written, made) or not self._compute(func, args, kwargs, made):
            for each in written:
                forget(each)
        elif _draws(func, tensors):
            for each in (*made, *written):
                _mark_drawn(each)

    def _can_follow(self, func: Any, tensors: list[Tensor], written: list[Tensor], made: list[Tensor]) -> bool:
        name = func._opname
        if func.namespace not in _FOLLOWED or name in _CHANGES_STORAGE:
            return False
        if not all(each.layout is torch.strided and self._is_small(each) for each in (*tensors, *made)):
            return False
        if name in _FROM_SHAPES:
            return True
        if name in _OVERWRITES and not is_known(written[0]) and _is_whole(written[0]):
            hold(written[0], _zeros(written[0]))
        return all(map(is_known, tensors))

    def _is_small(self, tensor: Tensor) -> bool:
        is_whole = not (tensor.is_floating_point() or tensor.is_complex())
        return tensor.numel() <= (self._limits.whole if is_whole else self._limits.floating)

    def _compute(self, func: Any, args: Any, kwargs: Any, made: list[Tensor]) -> bool:
        """Run `func` on the values; whether that worked."""
        try:
            with no_dispatch(), self._own_random_numbers(func):
                if func._opname in _UNINITIALIZED:
                    results = [_zeros(each) for each in made]
                else:
                    args, kwargs = _pytree.tree_map(_on_cpu, (args, _without_pinning(kwargs)))
                    results = self._results(func, args, kwargs, made)
        except Exception:  # what the CPU cannot do stays unknown
            return False
        for fake, real in zip(made, results, strict=False):
            if isinstance(fake, FakeTensor) and _held(fake) is None and fake.shape == real.shape:
                hold(fake, real)
        return True

    @staticmethod
    def _results(func: Any, args: Any, kwargs: Any, made: list[Tensor]) -> list[Tensor]:
        """Those of the operator itself, or of what stands in for it, which leaves out what only its backward reads."""
        stand_in = substitute(func)
        results = list(_tensors((stand_in or func)(*args, **kwargs)))
        return results if stand_in is None else [*results, *map(_zeros, made[len(results) :])]

    @contextmanager
    def _own_random_numbers(self, func: Any) -> Iterator[None]:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            yield
            return
        before = torch.get_rng_state()
        torch.set_rng_state(self._random_state)
        try:
            yield
        finally:
            self._random_state = torch.get_rng_state()
            torch.set_rng_state(before)


def _held(tensor: Tensor) -> _Held | None:
    if tensor.layout is not torch.strided:
        return None
    storage = tensor.untyped_storage()
    held: _Held | None = getattr(storage, "_lrtool_held", None)
    return held if held is not None and held.storage.nbytes() == storage.nbytes() else None


def is_known(tensor: Tensor) -> bool:
    """Whether `values_of` has what a tensor holds."""
    if isinstance(tensor, FakeTensor):
        return _held(tensor) is not None or tensor.constant is not None
    return tensor.device.type == "cpu"


def _is_whole(tensor: Tensor) -> bool:
    """Whether a tensor is all that its storage holds."""
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _view(storage: torch.UntypedStorage, tensor: Tensor) -> Tensor:
    """`storage` seen as `tensor` sees its own."""
    with no_dispatch():
        plain = torch.empty(0, dtype=tensor.dtype)
        seen = plain.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())
        seen = torch._conj(seen) if tensor.is_conj() else seen
        return torch._neg_view(seen) if tensor.is_neg() else seen


def _zeros(tensor: Tensor) -> Tensor:
    with no_dispatch():
        return torch.zeros(tensor.shape, dtype=tensor.dtype)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        known = values_of(value)
        return _zeros(value) if known is None else known  # an operator that asks for shapes alone
    return _CPU if isinstance(value, torch.device) else value


def _without_pinning(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key not in ("pin_memory", "non_blocking")}


def _draws(func: Any, tensors: Iterable[Tensor]) -> bool:
    """Whether random numbers or weights have a part in what `func` returns."""
    return torch.Tag.nondeterministic_seeded in func.tags or any(
        is_drawn(each) or each.requires_grad for each in tensors
    )


def _mark_drawn(tensor: Tensor) -> None:
    held = _held(tensor) if isinstance(tensor, FakeTensor) else None
    if held is not None:
        held.is_drawn = True


@cache
def _is_view(func: Any) -> bool:
    returned = [each.alias_info for each in func._schema.returns if each.alias_info is not None]
    return bool(returned) and not any(each.is_write for each in returned)


@cache
def _written_arguments(func: Any) -> tuple[tuple[int, str], ...]:
    arguments = enumerate(func._schema.arguments)
    return tuple((at, each.name) for at, each in arguments if each.alias_info is not None and each.alias_info.is_write)


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    values = [args[at] if at < len(args) else kwargs.get(name) for at, name in _written_arguments(func)]
    return list(_tensors(values))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
