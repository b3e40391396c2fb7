"""What a truth value that nobody knows most likely is, by the operators that made it."""

import math
import operator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from lrtool.tracing.fake_values.values import number_in

_COMPARED = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_CHECKS = {"isfinite": True, "isnan": False, "isinf": False}
_HANDED_ON = frozenset({"any", "all", "mul", "bitwise_and", "bitwise_or", "logical_and", "logical_or", "_is_all_true"})
_TURNED = frozenset({"logical_not", "bitwise_not"})
_USUALLY_TRUE = frozenset({"all", "ge", "le", "mul", "_is_all_true"})


def remember_truth(func: Any, args: tuple[Any, ...], out: Tensor) -> None:
    """Keep what is to be expected of truth values that `func` made from `args`."""
    if out.dtype is not torch.bool or not isinstance(out, FakeTensor):
        return
    is_well = _wellbeing(func._opname, args)
    if is_well is not None:
        out._lrtool_is_well = is_well  # type: ignore[attr-defined]
    elif out.numel() == 1:
        out._lrtool_expected = _expected(func._opname, args)  # type: ignore[attr-defined]


def expected_truth(tensor: Tensor) -> tuple[bool, bool]:
    """The truth to expect, and whether no other is: a check for infinite numbers finds none."""
    is_well = getattr(tensor, "_lrtool_is_well", None)
    if is_well is not None:
        return is_well, True
    return getattr(tensor, "_lrtool_expected", False), False


def _wellbeing(name: str, args: tuple[Any, ...]) -> bool | None:
    """What a check for numbers that are not finite says when there are none; None where it is no such check.

    torch.isnan is `x != x`, and torch.isfinite `(x == x) * (x.abs() != inf)`.
    """
    if name in _CHECKS:
        return _CHECKS[name]
    marks = [each for each in (getattr(arg, "_lrtool_is_well", None) for arg in args[:2]) if each is not None]
    if name in _TURNED:
        return not marks[0] if marks else None
    if name in ("eq", "ne") and len(args) > 1:
        is_itself, other = args[0] is args[1], args[1]
        is_infinite = isinstance(other, float) and math.isinf(other)
        return (name == "eq") == is_itself if is_itself or is_infinite else None
    return marks[0] if marks and (name in _HANDED_ON or len(args) == 1 or not isinstance(args[1], Tensor)) else None


def _expected(name: str, args: tuple[Any, ...]) -> bool:
    """A comparison with a number comes out as that of 1 with it."""
    if name in _COMPARED and len(args) > 1:
        bound = _number(args[1])
        if bound is not None:
            return bool(_COMPARED[name](1.0, bound))
    return name in _USUALLY_TRUE


def _number(value: Any) -> float | None:
    if isinstance(value, int | float):
        return value
    if isinstance(value, Tensor) and value.numel() == 1:
        return number_in(value)  # type: ignore[no-any-return]
    return None
