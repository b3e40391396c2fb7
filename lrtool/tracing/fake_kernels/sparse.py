"""Sparse tensors in coordinates, by their parts: indices and values are dense tensors, which is where the memory is."""

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
Parts = tuple[Tensor, Tensor]


def is_in_coordinates(tensor: Tensor) -> bool:
    return tensor.layout is torch.sparse_coo


def parts_of(tensor: Tensor) -> Parts:
    """Indices and values; of a fake tensor, under its mode."""
    return tensor._indices(), tensor._values()


def parts_of_real(tensor: Tensor) -> tuple[Parts, bool]:
    """Those of a real tensor while a fake tensor mode is on, and whether none is there twice."""
    with unset_fake_temporarily():
        return parts_of(tensor), tensor.is_coalesced()


def made_of(parts: Parts, shape: torch.Size, *, is_coalesced: bool) -> Tensor:
    return torch.sparse_coo_tensor(*parts, shape, is_coalesced=is_coalesced, check_invariants=False)


def zeros_at(parts: Parts, shape: torch.Size, *, is_coalesced: bool) -> Tensor:
    """A real tensor of zeros on the CPU with as many elements as the parts tell, none of them twice."""
    indices, values = parts
    places = torch.arange(values.shape[0])
    at = torch.stack(torch.unravel_index(places, shape[: indices.shape[0]]))
    return made_of((at, torch.zeros(values.shape, dtype=values.dtype)), shape, is_coalesced=is_coalesced)


def copied(mode: Any, _func: Any, tensor: Tensor, *, dtype: Any = None, device: Any = None, **_: Any) -> Any:
    """`_to_copy` of a sparse tensor to another device or type; of a dense one, what the fake tensor mode makes of it."""
    if tensor.layout in _COMPRESSED:
        raise NotImplementedError(f"Could not run 'aten::_to_copy' with arguments from the '{tensor.layout}' backend.")
    if not is_in_coordinates(tensor):
        return NotImplemented
    with mode:
        indices, values = parts_of(tensor)
        parts = indices.to(device=device, copy=True), values.to(device=device, dtype=dtype, copy=True)
        return made_of(parts, tensor.shape, is_coalesced=tensor.is_coalesced())
