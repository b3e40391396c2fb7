"""The values of small tensors of whole numbers and truth values on the fake GPU, as far as they follow from the batch.

Masks and lengths decide what a model does; they are computed along on the CPU, so that a question about them is answered
as it would be on a GPU.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils import _pytree

MAX_ELEMENTS = 2**20
_CPU = torch.device("cpu")
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
    tensors = [each for each in _pytree.tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    if any(each.numel() > MAX_ELEMENTS for each in tensors) or not (tensors or func._opname in _MADE_FROM_NOTHING):
        return
    known = {id(each): values_of(each) for each in tensors}
    if any(values is None for values in known.values()):
        return

    def on_cpu(value: Any) -> Any:
        return known[id(value)] if isinstance(value, Tensor) else _CPU if isinstance(value, torch.device) else value

    args, kwargs = _pytree.tree_map(on_cpu, (args, kwargs))
    with unset_fake_temporarily(), suppress(Exception):  # what the CPU cannot do stays unknown
        values = func(*args, **kwargs)
        if values.shape == out.shape:  # else the fake one has room for the largest selection there can be
            out._lrtool_values = (values, _version(out))  # type: ignore[attr-defined]


def _version(tensor: Tensor) -> int | None:
    """How often it was written to, views included; nobody counts for tensors made in inference mode."""
    return None if tensor.is_inference() else tensor._version
