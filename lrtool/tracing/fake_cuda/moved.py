"""Tensors that take on other data and stay themselves, as they do on a GPU: a moved parameter is the one that it was.

Hooks, weak references, attributes, optimizers and whoever else holds a parameter go on holding it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_set_data: Callable[[Tensor, Tensor], None] = torch._C.TensorBase.data.__set__  # type: ignore[attr-defined]


def take_data(tensor: Tensor, value: Tensor) -> None:
    """`tensor.data = value`: a tensor on the CPU may be real, and must become a fake one to take on a fake one's data."""
    if isinstance(value, FakeTensor) and not _is_wrapper(tensor) and not _can_take(tensor, value):
        _become_fake(tensor, value.fake_mode)
    _set_data(tensor, value)
    if isinstance(tensor, FakeTensor) and isinstance(value, FakeTensor):
        _know_as(tensor, value)


def take_content(first: Tensor, second: Tensor) -> bool:
    """What a module does to a parameter that it moves: `first` gets the data of `second`. False where that cannot be."""
    if _is_wrapper(first) or _is_wrapper(second) or not isinstance(second, FakeTensor):
        return False
    if not (isinstance(first, FakeTensor) or type(first) in (Tensor, nn.Parameter)):
        return False
    with torch.no_grad():
        take_data(first, second.detach())
    return True


def moving(original: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """`nn.Module._apply` for scripted modules as well: they hold their parameters in C++, and must be told of the new ones."""

    def apply(self: nn.Module, *args: Any, **named: Any) -> nn.Module:
        scripted = [module for module in self.modules() if isinstance(module, torch.jit.ScriptModule)]
        held = [(module, key, parameter) for module in scripted for key, parameter in module._parameters.items()]
        result = original(self, *args, **named)
        for module, key, parameter in held:
            module._parameters[key] = parameter
        return result

    return apply


def _can_take(tensor: Tensor, value: Tensor) -> bool:
    """Data of a GPU fits a tensor of the CPU, and not one of the meta device."""
    return isinstance(tensor, FakeTensor) and (tensor.device.type != "meta" or value.device.type == "meta")


def _is_wrapper(tensor: Tensor) -> bool:
    return bool(is_traceable_wrapper_subclass(tensor))


def _know_as(tensor: Any, value: Any) -> None:
    """The Python side of a fake tensor, which C++ does not know of."""
    tensor.fake_device, tensor.constant = value.fake_device, value.constant


def _become_fake(tensor: Any, mode: FakeTensorMode) -> None:
    """The object stays, the C++ tensor below it is another: what hangs on the old one is hung on the new one."""
    with no_dispatch():
        meta = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    device = torch.device("cpu") if tensor.device.type == "meta" else tensor.device
    fake: Any = FakeTensor(mode, meta, device)
    fake = nn.Parameter(fake) if isinstance(tensor, nn.Parameter) else fake
    fake.requires_grad_(tensor.requires_grad)
    for name in ("grad", *_HOOKS):
        held = getattr(tensor, name, None) if tensor.is_leaf else None
        if held is not None:
            setattr(fake, name, held)
    fake.__dict__.update(tensor.__dict__)
    tensor.__class__, fake.__class__ = fake.__class__, tensor.__class__
    tensor.__dict__.update(fake.__dict__)
    torch._C._swap_tensor_impl(tensor, fake)
