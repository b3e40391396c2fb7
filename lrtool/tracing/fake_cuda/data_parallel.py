"""`nn.DataParallel` over several fake GPUs: what its C++ does, and its threads one after another, in this one.

The other devices keep what they are sent in buffers of up to 10 MiB, as in torch/csrc/cuda/comm.cpp.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _reorder_tensors_as, _take_tensors, _unflatten_dense_tensors
from torch.cuda import nccl
from torch.nn.parallel import _functions, scatter_gather

from lrtool.tracing.fake_values.listener import Listener


def parallel_calls(listener: Listener) -> list[tuple[Any, str, Any]]:
    """What stands in for it, as changes of attributes."""
    module = sys.modules["torch.nn.parallel.data_parallel"]  # the package has a function of that name
    all_indices = module._get_all_device_indices

    def every_device() -> list[int]:
        if listener.num_devices == 1:
            listener.on_assumption("devices", "the GPUs that DataParallel finds", "1; --gpus tells how many there are")
        found: list[int] = all_indices()
        return found

    return [
        (module, "_get_all_device_indices", every_device), (module, "parallel_apply", _apply),
        (torch._C, "_scatter", _scatter), (torch._C, "_gather", _gather),
        (torch._C, "_broadcast_coalesced", _broadcast), (_functions, "Scatter", _Scatter),
        (scatter_gather, "Scatter", _Scatter), (nccl, "is_available", _all_dense), (nccl, "reduce", _reduce),
    ]  # fmt: skip


def _apply(
    modules: Sequence[Any], inputs: Sequence[Any], kwargs: Sequence[Any] | None = None, devices: Any = None
) -> list[Any]:
    """`parallel_apply`: a thread each on a GPU, which share nothing that is allocated."""
    outputs = []
    for number, (module, given) in enumerate(zip(modules, inputs, strict=True)):
        with torch.cuda.device(number if devices is None else devices[number]):
            args = given if isinstance(given, list | tuple) else (given,)
            outputs.append(module(*args, **(kwargs[number] if kwargs else {})))
    return outputs


class _Scatter(torch.autograd.Function):
    """As `torch.nn.parallel._functions.Scatter`; a copy from the host needs no stream of its own here."""

    @staticmethod
    def forward(ctx: Any, devices: list[int], sizes: list[int] | None, dim: int, tensor: Tensor) -> tuple[Tensor, ...]:
        ctx.home = tensor.get_device() if tensor.device.type == "cuda" else "cpu"
        ctx.dim = dim
        return _scatter(tensor, devices, sizes, dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        return None, None, None, _functions.Gather.apply(ctx.home, ctx.dim, *gradients)


def _scatter(tensor: Tensor, devices: list[int], sizes: list[int] | None, dim: int, *_: Any) -> tuple[Tensor, ...]:
    parts = tensor.chunk(len(devices), dim) if sizes is None else tensor.split(sizes, dim)
    return tuple(part.to(torch.device("cuda", device)) for part, device in zip(parts, devices, strict=False))


def _gather(tensors: Sequence[Tensor], dim: int, destination: int | None) -> Tensor:
    """The parts go one by one into the whole."""
    home = torch.device("cpu") if destination is None or destination < 0 else torch.device("cuda", destination)
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    whole = tensors[0].new_empty(shape, device=home)
    for part, tensor in zip(whole.split([each.shape[dim] for each in tensors], dim), tensors, strict=True):
        part.copy_(tensor)
    return whole


def _broadcast(tensors: Sequence[Tensor], devices: list[int], buffer_bytes: int) -> list[list[Tensor]]:
    copies: list[list[Tensor]] = [[] for _ in devices[1:]]
    for chunk in _take_tensors(tensors, buffer_bytes):
        flat = _flatten_dense_tensors(chunk)
        for own, device in zip(copies, devices[1:], strict=True):
            sent = flat.to(torch.device("cuda", device))
            own += [part.data for part in _unflatten_dense_tensors(sent, chunk)]
    return [list(tensors), *(list(_reorder_tensors_as(own, tensors)) for own in copies)]


def _all_dense(tensors: Sequence[Tensor]) -> bool:
    """Whether NCCL takes them, which torch's wheels for CUDA come with."""
    return not any(tensor.is_sparse for tensor in tensors)


def _reduce(_inputs: Sequence[Tensor], **_: Any) -> None:
    """NCCL writes to a tensor that is there."""
