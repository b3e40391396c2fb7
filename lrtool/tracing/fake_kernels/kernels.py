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

from lrtool.tracing.fake_kernels.attention import Build, Call, candidates
from lrtool.tracing.fake_kernels.autograd import composites_add_in_place
from lrtool.tracing.fake_kernels.ctc import ctc_loss
from lrtool.tracing.fake_kernels.recurrent import recurrent, recurrent_packed
from lrtool.tracing.fake_values.listener import Listener
from lrtool.tracing.fake_values.unwatched import factories
from lrtool.tracing.workspaces.recurrent import MODES
from lrtool.units import format_bytes

aten = torch.ops.aten
_STUBS = ("silu_backward", "mish_backward", "_fused_rms_norm")
_MASK_ALIGNMENT = 8
_OVERRIDING: dict[str, Any] = (
    {"allow_override": True} if "allow_override" in signature(torch.library.Library.impl).parameters else {}
)
"""On a build with CUDA there are such kernels, and older releases of torch replace them with a warning."""


@contextmanager
def cuda_kernels(build: Build, listener: Listener) -> Iterator[None]:
    """Register the kernels for CUDA tensors as `build` would choose them; `listener` hears of what was chosen."""
    library = torch.library.Library("aten", "IMPL")
    try:
        for name in _STUBS:
            if not _has_kernel(name, "CUDA"):
                library.impl(name, _never_called, "CUDA")
        for name, kernel in factories():
            library.impl(name, kernel, "CUDA", **_OVERRIDING)
        library.impl("scaled_dot_product_attention", _attention(build, listener), "AutogradCUDA")
        library.impl("linear", _linear, "AutogradCUDA")
        for lengths in ("IntList", "Tensor"):
            library.impl(f"ctc_loss.{lengths}", ctc_loss, "AutogradCUDA")
        library.impl("is_pinned", lambda _host, _device=None: True, "CPU")  # so that nobody needs to pin it
        for kind in MODES:
            library.impl(f"{kind}.input", recurrent(kind), "AutogradCUDA")
            library.impl(f"{kind}.data", recurrent_packed(kind), "AutogradCUDA")
        yield
    finally:
        library._destroy()


def _attention(build: Build, listener: Listener) -> Callable[..., Tensor]:
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
        call = Call(query=query, key=key, value=value, mask=attn_mask, dropout=dropout_p, is_causal=is_causal,
                    enable_gqa=enable_gqa)  # fmt: skip
        fitting = candidates(call, build)
        if not fitting:
            raise RuntimeError("No available kernel. Aborting execution.")  # as torch says it
        listener.on_assumption("kernel", _asked(call, build), _taken(call, fitting))
        return _run_attention(fitting[0], call, scale)

    return attention


def _run_attention(kernel: str, call: Call, scale: float | None) -> Tensor:
    if kernel == "math":
        with composites_add_in_place():
            math_attention = aten._scaled_dot_product_attention_math
            return _first(
                math_attention(*call.tensors, call.mask, call.dropout, call.is_causal, None, scale=scale,
                               enable_gqa=call.enable_gqa)
            )  # fmt: skip
    if kernel == "flash":
        return _flash(call.tensors, call.dropout, call.is_causal, scale)
    mask, keeps = _additive(call.mask, call.query), call.needs_gradient
    if kernel == "cudnn":
        cudnn = aten._scaled_dot_product_cudnn_attention
        return _first(cudnn(*call.tensors, mask, keeps, call.dropout, call.is_causal, False, scale=scale))
    efficient = aten._scaled_dot_product_efficient_attention
    mask = _expanded(mask, call.query, call.key)
    return _first(efficient(*call.tensors, mask, keeps, call.dropout, call.is_causal, scale=scale))


def _asked(call: Call, build: Build) -> str:
    dtype, (major, minor) = str(call.query.dtype).removeprefix("torch."), build.capability
    mask = "" if call.mask is None else f", mask {tuple(call.mask.shape)}"
    return f"attention kernel for {dtype} {tuple(call.query.shape)} on compute capability {major}.{minor}{mask}"


def _taken(call: Call, fitting: tuple[str, ...]) -> str:
    if len(fitting) == 1:
        return f"{fitting[0]}; no other takes this"
    kernel, following = fitting[:2]
    more = f"{format_bytes(_math_bytes(call))} more" if following == "math" else "as much"
    return f"{kernel}; the next candidate, {following}, needs {more}"


def _math_bytes(call: Call) -> int:
    """What math attention has at once and no other kernel: the scores and their softmax, and what dropout makes of it.

    Half types are computed in float32 where nobody allowed otherwise.
    """
    allowed = getattr(torch.backends.cuda, "fp16_bf16_reduction_math_sdp_allowed", lambda: False)()
    element = call.query.element_size() if allowed else max(4, call.query.element_size())
    dropped = element + 1 if call.dropout else 0
    return call.num_scores * (2 * element + dropped)


def _first(outputs: tuple[Tensor, ...]) -> Tensor:
    return outputs[0]


def _additive(mask: Tensor | None, query: Tensor) -> Tensor | None:
    """`convert_boolean_attn_mask`: 0 where attention may look, minus infinity elsewhere."""
    if mask is None or mask.dtype is not torch.bool:
        return mask
    zero, never = (torch.scalar_tensor(x, dtype=query.dtype, device=query.device) for x in (0.0, -math.inf))
    return torch.where(mask, zero, never)


def _expanded(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    """`preprocess_mask`: padded where lines do not begin at multiples of 8 elements, then one mask for every head."""
    if mask is None:
        return None
    if any(stride % _MASK_ALIGNMENT for stride in mask.stride()[:-1]):
        length = mask.shape[-1]
        mask = torch.nn.functional.pad(mask, (0, _MASK_ALIGNMENT - length % _MASK_ALIGNMENT))[..., :length]
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


def _has_kernel(name: str, key: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", key)


def _never_called(*_: Any, **__: Any) -> Any:
    raise AssertionError("a kernel of the fake CUDA device was really called")
