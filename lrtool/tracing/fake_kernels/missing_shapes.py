"""Shapes of what operators return for which torch, or the library they come from, has none that hold for a GPU."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch._library.fake_impl import FakeImplCtx
from torch._subclasses import fake_impls

from lrtool.tracing.fake_kernels.sparse import copied
from lrtool.tracing.fake_values.answers import Answers
from lrtool.tracing.patching import replaced

aten = torch.ops.aten
_ALIGNED_BYTES = 16


@contextmanager
def known_shapes(answers: Answers) -> Iterator[None]:
    """Answer such operators within the body."""
    implementations = fake_impls.op_implementations_dict
    added = {func: answer for func, answer in _answers() if func not in implementations}
    implementations.update(added)
    try:
        with replaced((FakeImplCtx, "new_dynamic_size", _dynamic_size(answers))):
            yield
    finally:
        for func in added:
            del implementations[func]


def _dynamic_size(answers: Answers) -> Callable[..., int]:
    def new_dynamic_size(_self: FakeImplCtx, **_: Any) -> int:
        """A library's operator that selects, as torchvision's nms does: of its longest input it may select all."""
        return answers.size(max((each.shape[0] for each in _inputs() if each.dim()), default=1))

    return new_dynamic_size


def _inputs() -> list[Tensor]:
    """The tensors of the function that asks for a size, which is the innermost one that has any."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        tensors = [each for each in frame.f_locals.values() if isinstance(each, Tensor)]
        if tensors:
            return tensors
        frame = frame.f_back
    return []


def _answers() -> Iterator[tuple[Any, Callable[..., Any]]]:
    yield aten._to_copy.default, copied
    yield aten._ctc_loss.default, _ctc_loss
    yield aten._ctc_loss_backward.default, _ctc_loss_backward
    yield aten.cudnn_grid_sampler.default, _grid_sampler
    yield aten.cudnn_grid_sampler_backward.default, _grid_sampler_backward
    if hasattr(aten, "_grouped_mm"):
        yield aten._grouped_mm.default, _grouped_mm


def _grouped_mm(
    _mode: Any, _func: Any, first: Tensor, second: Tensor, offs: Tensor | None = None,
    _bias: Tensor | None = None, out_dtype: torch.dtype | None = None,
) -> Tensor:  # fmt: skip
    """`create_grouped_gemm_output_tensor` of ATen/native/GroupedMMUtils.h, for any type: rows begin at 16 bytes."""
    flat = (first.dim() == 2, second.dim() == 2)
    groups = () if flat[0] != flat[1] else (first.shape[0] if offs is None else offs.shape[0],)
    rows, columns = first.shape[-2], second.shape[-1]
    dtype = out_dtype or first.dtype
    aligned = _ALIGNED_BYTES // dtype.itemsize
    width = -(-columns // aligned) * aligned
    strides = (rows * width, width, 1)[-(len(groups) + 2) :]
    return first.new_empty_strided((*groups, rows, columns), strides, dtype=dtype)


def _ctc_loss(
    _mode: Any, _func: Any, probs: Tensor, _targets: Tensor, _inputs: Any, lengths: list[int], *_: Any
) -> tuple[Tensor, Tensor]:
    """`ctc_loss_gpu_template` of ATen/native/cuda/LossCTC.cu: the likelihoods, and alphas over blanks and labels."""
    time, batch = probs.shape[:2]
    return probs.new_empty((batch,)), probs.new_empty((batch, time, 2 * max(lengths, default=0) + 1))


def _ctc_loss_backward(_mode: Any, _func: Any, _gradient: Tensor, probs: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(probs)


def _grid_sampler(_mode: Any, _func: Any, x: Tensor, grid: Tensor) -> Tensor:
    """ATen/native/cudnn/GridSampler.cpp, which takes bilinear samples of whole pictures with zeros around."""
    return x.new_empty((x.shape[0], x.shape[1], grid.shape[1], grid.shape[2]))


def _grid_sampler_backward(_mode: Any, _func: Any, x: Tensor, grid: Tensor, _gradient: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), grid.new_empty(grid.shape)
