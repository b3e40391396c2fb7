"""Scratch of operators that sort or scan within, by size; cub says its own only when it is asked. Pure."""

from collections.abc import Sequence
from typing import Any

from lrtool.tracing.workspaces.estimates import Estimate

_INDEX_BYTES = 8
_SORTED_ABOVE_INDICES = 3072
_SORTED_IN_PLACE = 4096
"""topk sorts up to so many of each row where they lie: ATen/native/cuda/TensorTopK.cpp."""


def unique(args: Sequence[Any]) -> tuple[Estimate, ...]:
    """`compute_unique` of ATen/native/cuda/Unique.cu: the sorted values, and for inverse or counts their indices and two
    more arrays; cub's radix sort needs both once more where they are many.
    """
    x, with_indices = args[0], any(args[2:4])
    values = x.numel() * x.element_size()
    indices = x.numel() * _INDEX_BYTES if with_indices else 0
    sorted_bytes = values + indices
    return (_of("unique", low=sorted_bytes, likely=2 * sorted_bytes + indices, high=2 * sorted_bytes + 3 * indices),)


def topk(args: Sequence[Any]) -> tuple[Estimate, ...]:
    """What is picked is sorted: with more than 4096 a row by a whole sort, whose values and indices are copies."""
    x, count = args[0], args[1]
    dim = args[2] if len(args) > 2 else -1
    is_sorted = args[4] if len(args) > 4 else True
    if not x.dim() or not x.numel() or not is_sorted or count <= _SORTED_IN_PLACE:
        return ()
    picked = x.numel() // x.shape[dim] * count
    once = picked * (x.element_size() + _INDEX_BYTES)
    return (_of("topk", low=once, likely=2 * once, high=4 * once),)


def embedding_backward(args: Sequence[Any]) -> tuple[Estimate, ...]:
    """Of more than 3072 indices: the keys and values that cub's radix sort alternates with."""
    indices, scale_by_frequency = args[1], bool(args[4]) if len(args) > 4 else False
    if indices.numel() <= _SORTED_ABOVE_INDICES and not scale_by_frequency:
        return ()
    pairs = indices.numel() * 2 * indices.element_size()
    return (_of("sorting an embedding's indices", low=0, likely=pairs, high=2 * pairs),)


def _of(what: str, *, low: int, likely: int, high: int) -> Estimate:
    return Estimate(what=f"workspace of {what}", low_bytes=low, likely_bytes=likely, high_bytes=high)
