"""Jagged nested tensors on the fake GPU: their ragged size, and the attention that a CUDA build chooses for them."""

from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nested._internal import sdpa
from torch.nn.attention import SDPBackend

_ragged_sizes = count(2**20)  # far from those that torch counts out for real tensors
_MAX_FLASH_WIDTH = 256


def nested_calls() -> list[tuple[Any, str, Any]]:
    """What nested tensors ask, as changes of attributes."""
    calls: list[tuple[Any, str, Any]] = [(FakeTensor, "get_nested_int", _nested_int)]
    if hasattr(sdpa, "_select_sdp_backend"):
        calls.append((sdpa, "_select_sdp_backend", _backend))
    return calls


def _nested_int(self: Any, *, coeff: int = 1) -> Any:
    """The ragged size that these offsets stand for: as for a real tensor, one for all nested tensors that share them."""
    if self.nested_int_memo is None:
        self.nested_int_memo = torch._C._get_nested_int(next(_ragged_sizes), 1)
    return self.nested_int_memo * coeff


def _backend(query: Tensor, _key: Tensor, _value: Tensor, mask: Tensor | None, *_: Any, **__: Any) -> SDPBackend:
    """`_select_sdp_backend` of torch/nested/_internal/sdpa.py on a GPU of 8.0 or newer; memory grows with the lengths."""
    is_half = query.dtype in (torch.float16, torch.bfloat16)
    if mask is None and is_half and query.shape[-1] <= _MAX_FLASH_WIDTH:
        return SDPBackend.FLASH_ATTENTION
    return SDPBackend.EFFICIENT_ATTENTION if mask is None else SDPBackend.MATH
