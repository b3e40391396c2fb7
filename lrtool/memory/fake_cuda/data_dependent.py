"""Answers to what depends on data that fake tensors do not have: numbers, truth values, and sizes of selections.

A selection is as large as it can be, a check for trouble finds none, and a number is 1 where nothing better is known.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import fake_impls

from lrtool.memory.fake_cuda.known_values import values_of

aten = torch.ops.aten
HiddenBirth = Callable[[Tensor], None]
_MASKS = (torch.bool, torch.uint8)
_TRUE_WHEN_WELL = ("isfinite", "all", "mul", "ge", "le", "_is_all_true")


@contextmanager
def answered(on_hidden_birth: HiddenBirth) -> Iterator[None]:
    """Answer data-dependent operators on fake tensors; `on_hidden_birth` learns of the tensors that CUDA makes inside."""
    implementations = fake_impls.op_implementations_dict
    answers = _answers(on_hidden_birth)
    before = {func: implementations.get(func) for func in answers}
    implementations.update(answers)
    try:
        yield
    finally:
        for func, original in before.items():
            if original is None:
                del implementations[func]
            else:
                implementations[func] = original


def remember_origin(tensor: Tensor, func: Any) -> None:
    """Keep which operator made a truth value, so that asking for it can be answered sensibly."""
    tensor._lrtool_origin = func._opname  # type: ignore[attr-defined]


def remember_no_overflow(found_inf: Tensor) -> None:
    """A GradScaler that checks this tensor finds no overflow; otherwise it would skip every optimizer step."""
    found_inf._lrtool_answer = 0.0  # type: ignore[attr-defined]


def number_of(tensor: Tensor) -> float | int | bool:
    """A plausible `.item()`; the true one where it is known."""
    known = getattr(tensor, "_lrtool_answer", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    values = values_of(tensor)
    if values is not None:
        return values.item()
    if tensor.dtype is torch.bool:
        return getattr(tensor, "_lrtool_origin", None) in _TRUE_WHEN_WELL
    return 1.0 if tensor.is_floating_point() else 1


def _answers(on_hidden_birth: HiddenBirth) -> dict[Any, Callable[..., Any]]:
    def index(fake_mode: Any, func: Any, tensor: Tensor, indices: Any, *args: Any, **kwargs: Any) -> Any:
        if not any(each is not None and each.dtype in _MASKS for each in indices):
            return _as_without_answer(index, fake_mode, func, (tensor, indices, *args), kwargs)
        return func(tensor, _positions(indices, on_hidden_birth), *args, **kwargs)

    def recurrent_backward(_mode: Any, _func: Any, x: Tensor, weights: Any, *args: Any, **_kwargs: Any) -> Any:
        _stride, buffer, hidden, cell = args[:4]
        return _recurrent_gradients(x, weights, buffer, (hidden, cell), on_hidden_birth)

    originals = fake_impls.op_implementations_dict
    indexing = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
    index.originals = {func: originals.get(func) for func in indexing}  # type: ignore[attr-defined]
    return {
        **dict.fromkeys((aten._local_scalar_dense.default, aten.item.default), _number),
        aten.is_nonzero.default: _truth,
        **dict.fromkeys((aten.equal.default, aten.allclose.default), _equal),
        aten.nonzero.default: _nonzero,
        aten.masked_select.default: _masked_select,
        aten._unique2.default: _unique,
        aten.bincount.default: _bincount,
        aten.repeat_interleave.Tensor: _repeat_interleave,
        aten._pack_padded_sequence.default: _pack,
        aten._cudnn_rnn_backward.default: recurrent_backward,
        **dict.fromkeys(indexing, index),
    }


def _as_without_answer(answer: Any, fake_mode: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the fake tensor mode would have done with an operator that needs no answer after all."""
    original = answer.originals[func]
    if original is not None:
        return original(fake_mode, func, *args, **kwargs)
    return NotImplemented


def _number(_mode: Any, _func: Any, tensor: Tensor, *_: Any, **__: Any) -> float | int | bool:
    return number_of(tensor)


def _truth(_mode: Any, _func: Any, tensor: Tensor, *_: Any, **__: Any) -> bool:
    return bool(number_of(tensor))


def _equal(*_: Any, **__: Any) -> bool:
    return True


def _nonzero(_mode: Any, _func: Any, tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    return tensor.new_empty((max(1, tensor.numel()), tensor.dim()), dtype=torch.int64)


def _masked_select(_mode: Any, _func: Any, tensor: Tensor, mask: Tensor, *_: Any, **__: Any) -> Tensor:
    return tensor.new_empty((max(1, math.prod(torch.broadcast_shapes(tensor.shape, mask.shape))),))


def _unique(_mode: Any, _func: Any, tensor: Tensor, *flags: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor]:
    with_inverse = flags[1] if len(flags) > 1 else named.get("return_inverse", False)
    with_counts = flags[2] if len(flags) > 2 else named.get("return_counts", False)
    count = max(1, tensor.numel())
    return (
        tensor.new_empty((count,)),
        tensor.new_empty(tensor.shape if with_inverse else (0,), dtype=torch.int64),
        tensor.new_empty((count if with_counts else 0,), dtype=torch.int64),
    )


def _bincount(_mode: Any, _func: Any, tensor: Tensor, *_: Any, minlength: int = 0, **__: Any) -> Tensor:
    return tensor.new_empty((max(tensor.numel(), minlength),), dtype=torch.int64)


def _repeat_interleave(_mode: Any, _func: Any, repeats: Tensor, *args: Any, **named: Any) -> Tensor:
    output_size = args[0] if args else named.get("output_size")
    return repeats.new_empty((output_size or repeats.numel(),))


def _positions(indices: Any, on_hidden_birth: HiddenBirth) -> list[Tensor | None]:
    """CUDA runs nonzero on every mask and indexes with what that finds."""
    positions: list[Tensor | None] = []
    for each in indices:
        if each is None or each.dtype not in _MASKS:
            positions.append(each)
            continue
        found = each.new_empty((max(1, each.numel()), each.dim()), dtype=torch.int64)
        on_hidden_birth(found)
        positions.extend(found.unbind(1))
    return positions


def _pack(_mode: Any, _func: Any, x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    batch, time = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
    known = values_of(lengths)
    each = [time] * batch if known is None else [int(length) for length in known.tolist()]
    sizes = torch.tensor([sum(length > t for length in each) for t in range(max(each))])
    return x.new_empty((sum(each), *x.shape[2:])), sizes


def _recurrent_gradients(
    x: Tensor, weights: Any, buffer: Tensor, states: tuple[Tensor, Tensor | None], on_hidden_birth: HiddenBirth
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """cuDNN writes all weight gradients into one buffer, of which each is a view."""
    flat = buffer.new_empty((sum(weight.numel() for weight in weights),))
    on_hidden_birth(flat)
    gradients, offset = [], 0
    for weight in weights:
        gradients.append(flat[offset : offset + weight.numel()].view(weight.shape))
        offset += weight.numel()
    hidden, cell = states
    return torch.empty_like(x), torch.empty_like(hidden), None if cell is None else torch.empty_like(cell), gradients
