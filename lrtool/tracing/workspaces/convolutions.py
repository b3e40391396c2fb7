"""What cuDNN takes for itself during a convolution, forward and for each of its gradients. Pure.

cuDNN chooses a kernel by heuristics that are not published, and torch takes the first that runs, whatever it asks for
(ATen/native/cudnn/Conv_v8.cpp). Seen in public snapshots: nothing at all for convolutions of 1 x 1 since torch 2.5, up to
128 MiB for the same ones before, and for others their weights once more (51,200 B and 128 more, 204,800 and 256 more).
Tensor cores want channels last, in half precision in eights (cuDNN pads them, NVIDIA's "Convolutional layers user's guide"),
so that the most a usual kernel takes is another copy of all three operands; up to 0.85 MiB beyond such copies were seen in six
figures of Liger-Kernel's benchmark, with 4 channels in bfloat16.
"""

import os
from collections.abc import Sequence
from math import prod
from typing import Any

from lrtool.tracing.workspaces.estimates import Estimate

CONVOLUTIONS = "workspace of convolutions"
_PARTIAL_SUM_BYTES = 4
_CHANNELS_OF_A_TILE = 8
_BEYOND_COPIES_BYTES = 2**20
_BENCHMARKED = 4
"""With cudnn.benchmark every kernel is tried, also those that transform tiles: Winograd's of 3 x 3 are 4 times as large."""


def convolution(args: Sequence[Any]) -> tuple[Estimate, ...]:
    """Of torch's `convolution`."""
    x, weight, groups = args[0], args[1], args[8]
    if _is_torchs_own(x, weight, groups):
        return ()
    channels = weight.shape[1] * groups if args[6] else weight.shape[0]
    return (_estimate(x, weight, (_output_elements(x, weight, args[3:9]), channels)),)


def convolution_backward(args: Sequence[Any]) -> tuple[Estimate, ...]:
    """Of `convolution_backward`: one kernel for the input's gradient, and one for the weights'."""
    gradient, x, weight, groups, wanted = args[0], args[1], args[2], args[9], args[10]
    if _is_torchs_own(x, weight, groups):
        return ()
    one = _estimate(x, weight, (gradient.numel(), gradient.shape[1]))
    return tuple(one for is_wanted in wanted[:2] if is_wanted)


def _is_torchs_own(x: Any, weight: Any, groups: int) -> bool:
    """Depthwise ones in float32 have a kernel in torch, which takes nothing: `use_cudnn_depthwise` in Convolution.cpp."""
    is_depthwise = groups > 1 and groups == x.shape[1] and weight.shape[0] % groups == 0
    return is_depthwise and x.element_size() >= 4


def _estimate(x: Any, weight: Any, output: tuple[int, int]) -> Estimate:
    """`output` are its elements and channels."""
    element = x.element_size()
    weights = weight.numel() * element
    likely = weights if prod(weight.shape[2:]) > 1 else 0
    copied = 0 if _is_channels_last(x) else _copied_bytes(x, output)
    most = copied + weights + weight.numel() * _PARTIAL_SUM_BYTES + _BEYOND_COPIES_BYTES
    return Estimate(what=CONVOLUTIONS, low_bytes=0, likely_bytes=likely, high_bytes=max(likely, _allowed(most)))


def _copied_bytes(x: Any, output: tuple[int, int]) -> int:
    """Input and output with their channels beside each other, and padded where tensor cores compute in half precision."""
    element, tile = x.element_size(), _CHANNELS_OF_A_TILE if x.element_size() <= 2 else 1
    sides = ((x.numel(), x.shape[1]), output)
    padded = [elements // channels * -(-channels // tile) * tile for elements, channels in sides if channels]
    return int(sum(padded) * element)


def _is_channels_last(x: Any) -> bool:
    """Channels beside each other, where there is more than one."""
    return x.dim() in (4, 5) and x.shape[1] > 1 and x.stride(1) == 1


def _allowed(num_bytes: int) -> int:
    """The most under cudnn.benchmark, which $CUDNN_CONV_WSCAP_DBG (MiB) limits, is more than without."""
    import torch

    if not torch.backends.cudnn.benchmark:
        return num_bytes
    limit = os.environ.get("CUDNN_CONV_WSCAP_DBG", "")
    most = _BENCHMARKED * num_bytes
    return min(most, int(limit) * 2**20) if limit.isdecimal() else most


def _output_elements(x: Any, weight: Any, shape: Sequence[Any]) -> int:
    stride, padding, dilation, is_transposed, output_padding, groups = shape
    num_dims = x.dim() - 2
    axes = zip(
        x.shape[2:], weight.shape[2:], *(_each(values, num_dims) for values in (stride, padding, dilation)),
        _each(output_padding, num_dims), strict=True,
    )  # fmt: skip
    if is_transposed:
        lengths = [(n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, d, o in axes]
        return int(x.shape[0] * weight.shape[1] * groups * prod(lengths))
    lengths = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in axes]
    return int(x.shape[0] * weight.shape[0] * prod(lengths))


def _each(values: Sequence[int], num_dims: int) -> Sequence[int]:
    """One number for each dimension; torch hands on a single one for all."""
    return list(values) * num_dims if len(values) == 1 else values
