"""How many elements of a mask can be true at most: where a program marks a sample of indices, no more than it drew."""

import math
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

_MARKS = (torch.bool, torch.uint8)
_EMPTY = frozenset({"zeros", "zeros_like", "new_zeros"})
_JOINED = frozenset({"bitwise_or", "logical_or", "__or__", "cat"})
_COMMON = frozenset({"bitwise_and", "logical_and", "__and__"})
_KEPT = frozenset(
    {"_to_copy", "clone", "detach", "view", "reshape", "unsqueeze", "squeeze", "t", "transpose", "permute"}
)
_MARKING = frozenset({"index_put_", "_index_put_impl_"})


def most_true(mask: Tensor) -> int:
    """No more elements than so many differ from zero."""
    known = getattr(mask, "_lrtool_most", None)
    if known is None or mask.is_inference() or known[1] != mask._version:
        return mask.numel()
    return min(int(known[0]), mask.numel())


def remember_count(func: Any, args: tuple[Any, ...], out: Any) -> None:
    """Keep what is known of a mask that `func` made, or wrote to."""
    if not isinstance(out, FakeTensor) or out.dtype not in _MARKS or out.is_inference():
        return
    most = _most(func._opname, args)
    if most is not None:  # autograd counts a write only once it is done
        out._lrtool_most = (most, out._version + func._schema.is_mutable)  # type: ignore[attr-defined]


def _most(name: str, args: tuple[Any, ...]) -> int | None:
    if name in _EMPTY:
        return 0
    if name in _MARKING and len(args[1]) == args[0].dim():
        return most_true(args[0]) + _most_marked(args[1])
    masks = [each for each in (args[0] if name == "cat" else args[:2]) if isinstance(each, Tensor)] if args else []
    if name in _JOINED:
        return sum(most_true(each) for each in masks)
    if name in _COMMON and len(masks) == 2:
        return min(most_true(each) for each in masks)
    return most_true(masks[0]) if name in _KEPT and masks[0].dtype in _MARKS else None


def _most_marked(indices: list[Tensor]) -> int:
    if any(each.dtype in _MARKS for each in indices):
        return math.prod(most_true(each) if each.dtype in _MARKS else each.numel() for each in indices)
    return math.prod(torch.broadcast_shapes(*(each.shape for each in indices)))
