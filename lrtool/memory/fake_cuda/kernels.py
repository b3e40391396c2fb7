"""Kernels that choose what a CUDA build chooses: attention, linear, recurrent layers and a few fused formulas.

On a build without CUDA these operators fall back to composites made of other operators, which allocate differently.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from lrtool.memory.fake_cuda.autograd import composites_add_in_place
from lrtool.memory.fake_cuda.unwatched import factories

aten = torch.ops.aten
_STUBS = ("silu_backward", "mish_backward", "_fused_rms_norm")
_RNN_MODES = {"rnn_relu": 0, "rnn_tanh": 1, "lstm": 2, "gru": 3}
_CUDNN_PREFERRED_AFTER = 91500
_OVERRIDING: dict[str, Any] = (
    {"allow_override": True} if "allow_override" in signature(torch.library.Library.impl).parameters else {}
)
"""On a build with CUDA there are such kernels, and older releases of torch replace them with a warning."""


@contextmanager
def cuda_kernels(capability: tuple[int, int], cudnn_version: int) -> Iterator[None]:
    """Register the kernels for CUDA tensors, as a GPU of `capability` with `cudnn_version` would choose them."""
    library = torch.library.Library("aten", "IMPL")
    try:
        for name in _STUBS:
            if not _has_kernel(name, "CUDA"):
                library.impl(name, _never_called, "CUDA")
        for name, kernel in factories():
            library.impl(name, kernel, "CUDA", **_OVERRIDING)
        library.impl("scaled_dot_product_attention", _attention(capability, cudnn_version), "AutogradCUDA")
        library.impl("linear", _linear, "AutogradCUDA")
        for kind in _RNN_MODES:
            library.impl(f"{kind}.input", _recurrent(kind), "AutogradCUDA")
            library.impl(f"{kind}.data", _recurrent_packed(kind), "AutogradCUDA")
        yield
    finally:
        library._destroy()


def attention_backend(
    tensors: tuple[Tensor, Tensor, Tensor],
    *,
    mask: Tensor | None,
    dropout: float,
    flags: tuple[bool, bool],
    gpu: tuple[tuple[int, int], int],
) -> str:
    """ "cudnn", "flash", "efficient" or "math": `select_sdp_backend` of ATen/native/transformers/cuda/sdp_utils.cpp.

    `flags` are (is_causal, enable_gqa), `gpu` the compute capability and the cuDNN version.
    """
    capability, cudnn_version = gpu
    usable = {
        "cudnn": _fits_cudnn(tensors, mask, dropout, capability),
        "flash": _fits_flash(tensors, mask, flags[0], capability, dropout),
        "efficient": _fits_efficient(tensors, capability),
    }
    if not _heads_fit(*tensors, gqa=flags[1]):
        return "math"
    prefers_cudnn = capability[0] in (9, 10) and cudnn_version > _CUDNN_PREFERRED_AFTER
    order = ("cudnn", "flash", "efficient") if prefers_cudnn else ("flash", "efficient")
    return next((name for name in order if usable[name]), "math")


def _heads_fit(query: Tensor, key: Tensor, value: Tensor, *, gqa: bool) -> bool:
    if not query.dim() == key.dim() == value.dim() == 4 or not query.dtype == key.dtype == value.dtype:
        return False
    if 0 in (query.shape[-2], key.shape[-2]) or any(t.stride(-1) != 1 for t in (query, key, value)):
        return False
    groups = query.shape[1] == key.shape[1] or (gqa and query.shape[1] % key.shape[1] == 0)
    return groups and key.shape[1] == value.shape[1] and query.shape[0] == key.shape[0] == value.shape[0]


def _is_half(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.float16, torch.bfloat16)


def _fits_cudnn(
    tensors: tuple[Tensor, Tensor, Tensor], mask: Tensor | None, dropout: float, capability: tuple[int, int]
) -> bool:
    query, key, value = tensors
    widths = (query.shape[-1], value.shape[-1])
    return (
        torch.backends.cuda.cudnn_sdp_enabled()
        and _is_half(query)
        and capability >= (8, 0)
        and (dropout * 16).is_integer()
        and all(width % 8 == 0 and width <= 128 for width in widths)
        and key.shape[-2] != 1
        and not (mask is not None and mask.requires_grad)
        and not (dropout and query.shape[-2] == 1)
        and not torch.are_deterministic_algorithms_enabled()
    )


def _fits_flash(
    tensors: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
    causal: bool,
    capability: tuple[int, int],
    dropout: float,
) -> bool:
    query, key, value = tensors
    width = query.shape[-1]
    small_shared_memory = capability in ((8, 6), (8, 9), (12, 0), (12, 1)) and width > 192
    return (
        torch.backends.cuda.flash_sdp_enabled()
        and _is_half(query)
        and capability >= (8, 0)
        and mask is None
        and width == key.shape[-1] == value.shape[-1]
        and width <= 256
        and not (causal and query.shape[-2] != key.shape[-2])
        and not (_needs_gradient(tensors) and small_shared_memory and (dropout != 0 or width <= 224))
    )


def _fits_efficient(tensors: tuple[Tensor, Tensor, Tensor], capability: tuple[int, int]) -> bool:
    query, key, value = tensors
    alignment = 8 if _is_half(query) else 4
    return (
        torch.backends.cuda.mem_efficient_sdp_enabled()
        and (_is_half(query) or query.dtype is torch.float32)
        and query.shape[-1] == key.shape[-1]
        and query.shape[1] == key.shape[1]
        and query.shape[-1] % alignment == 0
        and value.shape[-1] % alignment == 0
        and not (query.dtype is torch.bfloat16 and capability < (8, 0))
    )


def _needs_gradient(tensors: tuple[Tensor, ...]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _attention(capability: tuple[int, int], cudnn_version: int) -> Callable[..., Tensor]:
    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        tensors = (query, key, value)
        backend = attention_backend(
            tensors,
            mask=attn_mask,
            dropout=dropout_p,
            flags=(is_causal, enable_gqa),
            gpu=(capability, cudnn_version),
        )
        if backend == "math":
            with composites_add_in_place():
                math_attention = aten._scaled_dot_product_attention_math
                return _first(
                    math_attention(*tensors, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa)
                )
        mask = _additive(attn_mask, query)
        if backend == "flash":
            return _flash(tensors, dropout_p, is_causal, scale)
        keeps = _needs_gradient(tensors)
        if backend == "cudnn":
            cudnn = aten._scaled_dot_product_cudnn_attention
            return _first(cudnn(*tensors, mask, keeps, dropout_p, is_causal, False, scale=scale))
        efficient = aten._scaled_dot_product_efficient_attention
        whole_mask = _expanded(mask, query, key)
        return _first(efficient(*tensors, whole_mask, keeps, dropout_p, is_causal, scale=scale))

    return attention


def _first(outputs: tuple[Tensor, ...]) -> Tensor:
    return outputs[0]


def _additive(mask: Tensor | None, query: Tensor) -> Tensor | None:
    """`convert_boolean_attn_mask`: 0 where attention may look, minus infinity elsewhere."""
    if mask is None or mask.dtype is not torch.bool:
        return mask
    zero, never = (torch.scalar_tensor(x, dtype=query.dtype, device=query.device) for x in (0.0, -math.inf))
    return torch.where(mask, zero, never)


def _expanded(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    """`preprocess_mask`: the last dimension in a memory layout of multiples of 16, then one mask for every head."""
    if mask is None:
        return None
    length = mask.shape[-1]
    if length % 16:
        mask = torch.nn.functional.pad(mask, (0, -length % 16))[..., :length]
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])


def _flash(tensors: tuple[Tensor, ...], dropout: float, causal: bool, scale: float | None) -> Tensor:
    width = tensors[0].shape[-1]
    scale = scale if scale is not None else 1.0 / math.sqrt(width)
    padding = -width % 8
    padded = tuple(torch.nn.functional.pad(t, (0, padding)) for t in tensors) if padding else tensors
    out = aten._scaled_dot_product_flash_attention(*padded, dropout, causal, False, scale=scale)[0]
    return out[..., :width] if padding else out  # type: ignore[no-any-return]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The composite itself; where it must add the bias to a non-contiguous product, it does so in place."""
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    if bias is None or x.dim() < 3 or x.is_contiguous():
        return aten.linear.default._op_dk(composite, x, weight, bias)  # type: ignore[no-any-return]
    with composites_add_in_place():
        return aten.linear.default._op_dk(composite, x, weight, bias)  # type: ignore[no-any-return]


def _recurrent(kind: str) -> Callable[..., tuple[Tensor, ...]]:
    def run(
        x: Tensor, hx: Any, params: list[Tensor], has_biases: bool, num_layers: int,
        dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        shape = (has_biases, num_layers, dropout, train, bidirectional)
        out, *states = _cudnn_rnn(kind, x.transpose(0, 1) if batch_first else x, hx, params, shape, [])
        return (out.transpose(0, 1) if batch_first else out, *states)

    return run


def _recurrent_packed(kind: str) -> Callable[..., tuple[Tensor, ...]]:
    def run(
        x: Tensor, batch_sizes: Tensor, hx: Any, params: list[Tensor], has_biases: bool,
        num_layers: int, dropout: float, train: bool, bidirectional: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        shape = (has_biases, num_layers, dropout, train, bidirectional)
        return _cudnn_rnn(kind, x, hx, params, shape, [int(size) for size in batch_sizes.tolist()])

    return run


def _cudnn_rnn(
    kind: str, x: Tensor, hx: Any, params: list[Tensor],
    shape: tuple[bool, int, float, bool, bool], batch_sizes: list[int],
) -> tuple[Tensor, ...]:  # fmt: skip
    has_biases, num_layers, dropout, train, bidirectional = shape
    hidden, cell = (hx[0], hx[1]) if kind == "lstm" else (hx, None)
    width = (hidden if cell is None else cell).shape[2]
    projection = hidden.shape[2] if hidden.shape[2] != width else 0
    flat = getattr(params[0], "_lrtool_flat_weights", None)
    weights = params[0].detach().view(-1) if flat is None else flat
    out, hy, cy, _, _ = aten._cudnn_rnn(
        x, params, (4 if has_biases else 2) + (projection > 0), weights, hidden, cell, _RNN_MODES[kind], width,
        projection, num_layers, False, dropout, train, bidirectional, batch_sizes, x.new_empty(0, dtype=torch.uint8),
    )  # fmt: skip
    return (out, hy, cy) if kind == "lstm" else (out, hy)


def _has_kernel(name: str, key: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", key)


def _never_called(*_: Any, **__: Any) -> Any:
    raise AssertionError("a kernel of the fake CUDA device was really called")
