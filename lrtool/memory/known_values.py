"""The values of small tensors of whole numbers and truth values on the fake GPU, as far as they follow from the batch.

Masks and lengths decide what a model does; they are computed along on the CPU, so that a question about them is answered
as it would be on a GPU.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

MAX_ELEMENTS = 2**20
_MADE_FROM_NOTHING = ("arange", "full", "zeros", "ones", "scalar_tensor", "eye", "tril_indices", "triu_indices")


def values_of(tensor: Tensor) -> Tensor | None:
    """What a tensor holds, on the CPU; None where that is not known, or not any more."""
    if not isinstance(tensor, FakeTensor):
        return tensor if tensor.device.type == "cpu" else None
    known = getattr(tensor, "_lrtool_values", None)
    if known is None:
        return tensor.constant
    values, version = known
    return values if _version(tensor) == version else None


def follow(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
    """Keep the values of `out`, which `func` made, where those of its arguments are known."""
    if not isinstance(out, FakeTensor) or out.is_floating_point() or out.is_complex() or out.numel() > MAX_ELEMENTS:
        return
    if func.namespace != "aten" or func._schema.is_mutable or _version(out) is None:
        return
    if torch.Tag.nondeterministic_seeded in func.tags:
        return
    tensors = [each for each in _flat((args, kwargs)) if isinstance(each, Tensor)]
    if any(each.numel() > MAX_ELEMENTS for each in tensors) or not (tensors or func._opname in _MADE_FROM_NOTHING):
        return
    known = {id(each): values_of(each) for each in tensors}
    if any(values is None for values in known.values()):
        return
    with unset_fake_temporarily(), suppress(Exception):  # what the CPU cannot do stays unknown
        values = func(*_with(known, args), **_with(known, kwargs))
        if values.shape == out.shape:  # else the fake one has room for the largest selection there can be
            out._lrtool_values = (values, _version(out))  # type: ignore[attr-defined]


def _version(tensor: Tensor) -> int | None:
    """How often it was written to, views included; nobody counts for tensors made in inference mode."""
    return None if tensor.is_inference() else tensor._version


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def _with(known: dict[int, Tensor | None], value: Any) -> Any:
    """Nested arguments with known values for tensors, and the CPU for the GPU."""
    if isinstance(value, Tensor):
        return known[id(value)]
    if isinstance(value, torch.device):
        return torch.device("cpu")
    if isinstance(value, dict):
        return {key: _with(known, each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_with(known, each) for each in value)
    return value
