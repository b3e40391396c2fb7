"""What the backward passes of efficient and of cuDNN attention take for themselves. Pure."""

from collections.abc import Sequence
from typing import Any

from lrtool.tracing.workspaces.estimates import Estimate

_FLOAT = 4
_TILE, _WIDE_TILE = 64, 128
_TILE_HEADER_BYTES = 16
_REGISTER_WIDTH = 64
"""Heads up to this width keep the gradients of keys and values in registers, whatever the card."""
_DP_LIMIT_BYTES = 256 * 2**20


def efficient_backward(args: Sequence[Any]) -> tuple[Estimate, ...]:
    """`workspace_size` of mem_eff_attention/kernel_backward.h, which is part of torch's headers, and delta beside it.

    The queries' gradients add up in float32, in tiles of 64 or 128 by 64 by the card. Of wide heads in half types those
    of keys and values do so too where a card has few registers.
    """
    query, key, value = args[1:4]
    batch, heads, time, width = query.shape
    rows = batch * heads
    delta = rows * time * _FLOAT
    tiled = [_tiled_bytes(time, width, height) * rows for height in (_TILE, _WIDE_TILE)]
    spilled = 0
    if query.element_size() < _FLOAT and max(width, value.shape[-1]) > _REGISTER_WIDTH:
        padded = sum(_up(each.shape[-1], _WIDE_TILE) for each in (key, value))
        spilled = rows * _up(key.shape[-2], _WIDE_TILE) * padded * _FLOAT
    low, high = min(tiled), max(tiled)
    return (_of("efficient attention's backward", low=delta + low, likely=delta + low, high=delta + high + spilled),)


def cudnn_backward(args: Sequence[Any]) -> tuple[Estimate, ...]:
    """The queries' gradients in float32 and softmax's sums; at most, 256 MiB for those of scores (cudnn-frontend#398)."""
    query, key = args[1], args[2]
    batch, heads, time, width = query.shape
    likely = batch * heads * time * (width + 1) * _FLOAT
    scores = batch * heads * time * key.shape[-2] * query.element_size()
    high = likely + min(_DP_LIMIT_BYTES, scores)
    return (_of("cuDNN attention's backward", low=0, likely=likely, high=high),)


def _of(what: str, *, low: int, likely: int, high: int) -> Estimate:
    return Estimate(what=f"workspace of {what}", low_bytes=low, likely_bytes=likely, high_bytes=high)


def _tiled_bytes(time: int, width: int, height: int) -> int:
    """Of one head: tiles of `height` by 64, each with its lock."""
    tiles = -(-time // height) * -(-width // _TILE)
    return tiles * (_TILE_HEADER_BYTES + height * _TILE * _FLOAT)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
