"""Operators that only a GPU has, by others that the CPU has and that compute the same, dropout in attention aside."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
Triple = tuple[Tensor, Tensor, Tensor]


def substitute(func: Any) -> Callable[..., Any] | None:
    """What computes on the CPU the first results of an operator that the CPU lacks; None for all others."""
    return _SUBSTITUTES.get(func._opname)


def _probabilities(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    scores = (query.float() @ key.float().transpose(-2, -1)) * scale
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
    return torch.softmax(scores if mask is None else scores + mask, -1)


def _per_query_head(tensor: Tensor, query: Tensor) -> Tensor:
    groups = query.shape[1] // tensor.shape[1]
    return tensor.repeat_interleave(groups, 1) if groups > 1 else tensor


def _attention(tensors: Triple, mask: Tensor | None, causal: bool, scale: float | None) -> Tensor:
    query, key, value = tensors
    key, value = _per_query_head(key, query), _per_query_head(value, query)
    weights = _probabilities(query, key, mask, causal, scale or query.shape[-1] ** -0.5)
    return (weights @ value.float()).to(query.dtype)


def _attention_backward(
    gradient: Tensor, tensors: Triple, mask: Tensor | None, causal: bool, scale: float | None
) -> Triple:
    """dV = P'dO, dS = P (dP - sum(dP P)), dQ = dS K, dK = dS'Q: https://arxiv.org/abs/2205.14135, appendix B.2."""
    query = tensors[0]
    scale = scale or query.shape[-1] ** -0.5
    key, value = (_per_query_head(each, query).float() for each in tensors[1:])
    weights = _probabilities(query, key, mask, causal, scale)
    of_weights = gradient.float() @ value.transpose(-2, -1)
    of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True)) * scale
    of_key, of_value = of_scores.transpose(-2, -1) @ query.float(), weights.transpose(-2, -1) @ gradient.float()
    found = of_scores @ key, _summed(of_key, tensors[1]), _summed(of_value, tensors[2])
    return tuple(each.to(query.dtype) for each in found)  # type: ignore[return-value]


def _summed(gradient: Tensor, tensor: Tensor) -> Tensor:
    """Over the query heads that share a head of `tensor`."""
    batch, heads = tensor.shape[:2]
    return gradient.reshape(batch, heads, -1, *gradient.shape[2:]).sum(2)


def _flash(
    q: Tensor, k: Tensor, v: Tensor, _dropout: float = 0.0, causal: bool = False, *_: Any, scale: Any = None
) -> Any:
    return _attention((q, k, v), None, causal, scale)


def _flash_backward(gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any, scale: Any = None) -> Any:
    return _attention_backward(gradient, (q, k, v), None, rest[7], scale)


def _masked(
    q: Tensor, k: Tensor, v: Tensor, mask: Any, _keeps: bool, _drop: float = 0.0, causal: bool = False, *_: Any,
    scale: Any = None,
) -> Any:  # fmt: skip
    """The memory-efficient kernel and cuDNN's."""
    return _attention((q, k, v), mask, causal, scale)


def _efficient_backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Any, *rest: Any, scale: Any = None
) -> Any:
    causal = rest[6] if len(rest) > 6 else False
    return _attention_backward(gradient, (q, k, v), mask, causal, scale)


def _cudnn_backward(gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any, scale: Any = None) -> Any:
    return _attention_backward(gradient, (q, k, v), rest[4], rest[10], scale)


def _batch_norm(*args: Any) -> Any:
    return aten.native_batch_norm(*args[:8])


def _batch_norm_backward(
    x: Tensor, gradient: Tensor, weight: Any, mean: Any, variance: Any, saved_mean: Tensor, saved_variance: Tensor,
    epsilon: float, _reserve: Tensor,
) -> Any:  # fmt: skip
    saved, wanted = (saved_mean, saved_variance), [True, weight is not None, True]
    return aten.native_batch_norm_backward(gradient, x, weight, mean, variance, *saved, True, epsilon, wanted)


_SUBSTITUTES: dict[str, Callable[..., Any]] = {
    "_scaled_dot_product_flash_attention": _flash,
    "_scaled_dot_product_flash_attention_backward": _flash_backward,
    "_scaled_dot_product_efficient_attention": _masked,
    "_scaled_dot_product_efficient_attention_backward": _efficient_backward,
    "_scaled_dot_product_cudnn_attention": _masked,
    "_scaled_dot_product_cudnn_attention_backward": _cudnn_backward,
    "cudnn_batch_norm": _batch_norm,
    "cudnn_batch_norm_backward": _batch_norm_backward,
}
