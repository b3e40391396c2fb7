"""Work on the CPU that no mode watches, such as a DataLoader's: thousands of operators, each as quick as without a trace.

What touches the fake GPU comes back under the modes by itself: an operator on a fake tensor goes to that tensor's class,
and one that makes a tensor on the GPU out of none there comes down to one of `factories`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.utils._python_dispatch import _disable_current_modes, _pop_mode, _push_mode

from lrtool.tracing.fake_values.values import is_known
from lrtool.tracing.patching import replaced

aten = torch.ops.aten
_OF_SAMPLES = frozenset(
    (aten.select.int, aten.slice.Tensor, aten.stack.default, aten.cat.default, aten.unsqueeze.default)
)
"""What loaders do with each sample: of a fake tensor, sizes are all that it has, and come without its mode's checks."""
_CPU = torch.device("cpu")


class _Left(threading.local):
    """The modes that this thread has left, innermost first."""

    modes: tuple[Any, ...] = ()


_left = _Left()


@contextmanager
def unwatched() -> Iterator[None]:
    """Run the body without the modes that are on, apart from what touches the fake GPU; where tensors are real, with them."""
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is None:
        yield
        return
    dispatch = _of_class(FakeTensor.__torch_dispatch__)
    with _disable_current_modes() as modes, replaced((FakeTensor, "__torch_dispatch__", dispatch)):
        _left.modes = tuple(modes)
        try:
            yield
        finally:
            _left.modes = ()


def factories() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Kernels for the fake GPU of the operators in which every other ends that makes a tensor of nothing."""
    yield "empty.memory_format", partial(_under_modes, aten.empty.memory_format)
    yield "empty_strided", partial(_under_modes, aten.empty_strided.default)


def _under_modes(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call an operator under the modes that this thread has left."""
    modes, _left.modes = _left.modes, ()
    if not modes:
        raise NotImplementedError(f"{func} on the GPU, in a thread that is not traced")
    for mode in reversed(modes):
        _push_mode(mode)
    try:
        return func(*args, **kwargs)
    finally:
        for _ in modes:
            _pop_mode()
        _left.modes = modes


def _of_class(original: Callable[..., Any]) -> Any:
    def dispatch(_class: type, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not _left.modes or func.namespace == "prim":
            return original(func, types, args, kwargs or {})
        made = _by_sizes(func, args) if func in _OF_SAMPLES and not kwargs else None
        return _under_modes(func, *args, **(kwargs or {})) if made is None else made

    return classmethod(dispatch)


def _by_sizes(func: Any, args: tuple[Any, ...]) -> FakeTensor | None:
    """What an operator of samples makes of fake tensors on the CPU whose values nobody knows; None of others."""
    tensors = args[0] if isinstance(args[0], tuple | list) else (args[0],)
    mode = tensors[0].fake_mode if tensors and isinstance(tensors[0], FakeTensor) else None
    if mode is None or not all(_is_unknown(each, mode) for each in tensors):
        return None
    with in_kernel_invocation_manager(mode):
        made = func(*args)
    return FakeTensor(mode, made, _CPU)


def _is_unknown(tensor: object, mode: FakeTensorMode) -> bool:
    if not isinstance(tensor, FakeTensor) or tensor.fake_mode is not mode or tensor.fake_device != _CPU:
        return False
    return not is_known(tensor)
