"""What cuDNN keeps and takes for recurrent layers. Pure.

cuDNN documents no sizes. The formulas are those of two public figures, which they meet: 736,000,000 B of reserve and
17,730,560 B of workspace for an LSTM of 4 layers of 320 over 25,000 rows, 864,000,000 B and 13,169,920 B for the GRU, in
float32 on a P100 (pytorch#2895, 2017). One source, one card and an old cuDNN: what it may be instead is wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lrtool.tracing.workspaces.estimates import Estimate

_LSTM, _GRU, _TANH = (4, 5, 8), (3, 6, 8), (0, 1, 2)
_KEPT = {"lstm": _LSTM, "gru": _GRU, "rnn_tanh": _TANH, "rnn_relu": _TANH}
"""Arrays as large as the hidden states that a layer keeps, at least, likely and at most. The least are the gates, without
which there is no backward pass; likely ones are measured for LSTM and GRU; a plain layer needs its output.
"""
MODES = ("rnn_relu", "rnn_tanh", "lstm", "gru")
"""By their number in torch's `_cudnn_rnn`."""
_ACCUMULATOR_BYTES = 4
_WORKSPACE_PER_WEIGHT = 1.45
"""Of 12,139,520 B of weights the LSTM's workspace is 1.46 times the bytes, of 9,104,640 B the GRU's 1.45 times."""
_MOST_PER_WEIGHT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """One call: `kind` is "lstm", "gru", "rnn_tanh" or "rnn_relu", `num_rows` the time steps of all sequences together."""

    kind: str
    num_rows: int
    width: int
    num_layers: int
    num_directions: int
    element_bytes: int
    weight_bytes: int
    has_dropout: bool = False


def forward_layers(args: Sequence[Any]) -> Layers:
    """What a call of `_cudnn_rnn` computes."""
    return _layers(args[0], args[1], args[6:15])


def backward_layers(args: Sequence[Any]) -> Layers:
    """What a call of `_cudnn_rnn_backward` computes."""
    return _layers(args[0], args[1], args[10:19])


def _layers(x: Any, weights: Sequence[Any], shape: Sequence[Any]) -> Layers:
    mode, width, _projection, num_layers, _batch_first, dropout, _train, is_bidirectional, batch_sizes = shape
    return Layers(
        kind=MODES[mode],
        num_rows=x.shape[0] if len(batch_sizes) else x.shape[0] * x.shape[1],
        width=width,
        num_layers=num_layers,
        num_directions=2 if is_bidirectional else 1,
        element_bytes=x.element_size(),
        weight_bytes=sum(each.numel() for each in weights) * x.element_size(),
        has_dropout=dropout > 0 and num_layers > 1,
    )


def reserve(layers: Layers) -> Estimate:
    """What lives from forward to backward: of each layer its gates and cells, and the outputs of all layers but the last.

    At most, it is kept in float32 whatever the type, and dropout between layers keeps its outputs and masks.
    """
    of_one = layers.num_rows * layers.width * layers.num_directions
    between = layers.num_layers - 1
    low, likely, high = (arrays * layers.num_layers + between for arrays in _KEPT[layers.kind])
    dropped = 2 * between if layers.has_dropout else 0
    widest = max(_ACCUMULATOR_BYTES, layers.element_bytes)
    return Estimate(
        what="reserve of recurrent layers",
        low_bytes=low * of_one * layers.element_bytes,
        likely_bytes=likely * of_one * layers.element_bytes,
        high_bytes=(high + dropped) * of_one * widest,
    )


def workspace(layers: Layers) -> Estimate:
    """What a call takes and gives back, forward, and for each half of backward."""
    return Estimate(
        what="workspace of recurrent layers",
        low_bytes=0,
        likely_bytes=round(_WORKSPACE_PER_WEIGHT * layers.weight_bytes),
        high_bytes=_MOST_PER_WEIGHT * layers.weight_bytes,
    )
