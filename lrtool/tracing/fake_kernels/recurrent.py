"""Recurrent layers as cuDNN runs them: one operator for all layers and time steps, which keeps a reserve for backward."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import fake_impls

from lrtool.tracing.workspaces.recurrent import MODES, forward_layers, reserve

aten = torch.ops.aten


@contextmanager
def recurrent_reserves() -> Iterator[None]:
    """Within the body recurrent layers on fake tensors return a reserve of its likely size; torch's meta kernel says 0."""
    implementations, func = fake_impls.op_implementations_dict, aten._cudnn_rnn.default
    before = implementations.get(func)
    implementations[func] = _cudnn_rnn_outputs
    try:
        yield
    finally:
        if before is None:
            del implementations[func]
        else:
            implementations[func] = before


def recurrent(kind: str) -> Callable[..., tuple[Tensor, ...]]:
    """The kernel of `kind`.input, over sequences of one length."""

    def run(
        x: Tensor, hx: Any, params: list[Tensor], has_biases: bool, num_layers: int,
        dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        shape = (has_biases, num_layers, dropout, train, bidirectional)
        out, *states = _cudnn_rnn(kind, x.transpose(0, 1) if batch_first else x, hx, params, shape, [])
        return (out.transpose(0, 1) if batch_first else out, *states)

    return run


def recurrent_packed(kind: str) -> Callable[..., tuple[Tensor, ...]]:
    """The kernel of `kind`.data, over packed sequences."""

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
        x, params, (4 if has_biases else 2) + (projection > 0), weights, hidden, cell, MODES.index(kind), width,
        projection, num_layers, False, dropout, train, bidirectional, batch_sizes, x.new_empty(0, dtype=torch.uint8),
    )  # fmt: skip
    return (out, hy, cy) if kind == "lstm" else (out, hy)


def _cudnn_rnn_outputs(_mode: Any, _func: Any, *args: Any, **_named: Any) -> tuple[Tensor, ...]:
    """Output, last states, reserve and weights; only in training is anything kept."""
    x, buffer, hidden, cell, width, projection = args[0], args[3], args[4], args[5], args[7], args[8]
    num_layers, trains, bidirectional, sizes = args[9], args[12], args[13], args[14]
    directions = 2 if bidirectional else 1
    batch = sizes[0] if len(sizes) else x.shape[1]
    out = x.new_empty((*x.shape[:-1], (projection or width) * directions))
    hy = hidden.new_empty((num_layers * directions, batch, projection or width))
    cy = x.new_empty((0,)) if cell is None else cell.new_empty((num_layers * directions, batch, width))
    kept = reserve(forward_layers(args)).likely_bytes if trains else 0
    space = x.new_empty((kept,), dtype=torch.uint8)
    return out, hy, cy, space, buffer
