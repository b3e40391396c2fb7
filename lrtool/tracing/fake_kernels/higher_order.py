"""Operators that take functions, such as flex_attention and cond: what they run eagerly, and what a compiler makes of it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._higher_order_ops import utils
from torch._ops import HigherOrderOperator

from lrtool.tracing.fake_values.listener import Listener
from lrtool.tracing.patching import replaced

_TORCH = Path(torch.__file__).parent
_FLEX = str(_TORCH / "nn" / "attention" / "flex_attention.py")
_COMPILED = str(_TORCH / "_dynamo" / "eval_frame.py")
_CALLS = ("compile_wrapper", "_TorchDynamoContext.__call__.<locals>._fn")
_MODE = "_get_current_dispatch_mode"
_CALLED = "_callback_from_stance"
_of_kernels: WeakValueDictionary[int, torch.UntypedStorage] = WeakValueDictionary()
"""Storages of log-sum-exps that compiled kernels returned: the backward pass takes the kernel that belongs to them."""


@contextmanager
def without_compiler(listener: Listener) -> Iterator[None]:
    """A compiler leaves alone what runs under a dispatch mode, or refuses to; here it leaves all code as it is written."""
    operators = [module for name, module in sys.modules.items() if name.startswith(torch._higher_order_ops.__name__)]
    changes: list[tuple[Any, str, Any]] = [(module, _MODE, _none) for module in operators if hasattr(module, _MODE)]
    with torch.compiler.set_stance("force_eager"):
        from torch._dynamo import eval_frame

        changes.append((eval_frame, _CALLED, _telling(getattr(eval_frame, _CALLED), listener)))
        with replaced(*changes):
            yield


def _telling(original: Callable[[Any], Any], listener: Listener) -> Callable[[Any], Any]:
    """What torch asks at each call of a compiled function: how it is to run."""

    def stance(callback: Any) -> Any:
        if callable(callback) and not _is_of_flex(sys._getframe(1)):
            listener.on_assumption("compiler", "torch.compile", "predicted as eager")
        return original(callback)

    return stance


def _is_of_flex(frame: FrameType) -> bool:
    """flex_attention compiles its own body with a backend that leaves it as it is."""
    return frame.f_back is not None and frame.f_back.f_code.co_filename == _FLEX


def is_higher_order(func: Any) -> bool:
    return isinstance(func, HigherOrderOperator)


def _none() -> None:
    """Which mode is on, for bodies that want none."""


def body_of(func: Any) -> Callable[..., Any]:
    """What the operator does with its arguments where nothing is compiled; else what torch itself runs on fake tensors."""
    fakes: dict[Any, Callable[..., Any]] = getattr(utils, "registered_hop_fake_fns", {})
    body = func.py_kernels.get(DispatchKey.CompositeExplicitAutograd) or fakes.get(func)
    if body is None:
        raise NotImplementedError(f"There was no rule registered for HigherOrderOperator {func._name}")
    found: Callable[..., Any] = body
    return found


def is_one_kernel(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether a compiler makes one kernel of the operator, which allocates nothing but what it returns.

    Called eagerly, flex_attention computes all scores, by functions of its own; and so does its backward pass then.
    """
    if func._name == "flex_attention":
        return _is_compiled(sys._getframe(1))
    return func._name == "flex_attention_backward" and args[4].untyped_storage()._cdata in _of_kernels


def remember_kernel(outputs: tuple[Tensor, ...]) -> None:
    """`outputs` came from a compiled flex_attention."""
    storage = outputs[1].untyped_storage()
    _of_kernels[storage._cdata] = storage


def _is_compiled(frame: FrameType | None) -> bool:
    """A compiler around flex_attention is the user's; the one within makes no kernel."""
    while frame is not None and (frame.f_code.co_filename, frame.f_code.co_name) != (_FLEX, "flex_attention"):
        frame = frame.f_back
    while frame is not None and not _is_compilers(frame.f_code):
        frame = frame.f_back
    return frame is not None


def _is_compilers(code: CodeType) -> bool:
    """Whether this calls what torch.compile returned; older releases name that function as they name others."""
    name = getattr(code, "co_qualname", code.co_name)
    return code.co_filename == _COMPILED and name.endswith(_CALLS)
