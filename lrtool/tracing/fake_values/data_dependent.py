"""Operators whose result, or the shape of it, depends on data that fake tensors do not have."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import fake_impls
from torch.utils._mode_utils import no_dispatch

from lrtool.tracing.fake_values.answers import Answers
from lrtool.tracing.fake_values.counts import most_true
from lrtool.tracing.fake_values.listener import Listener
from lrtool.tracing.fake_values.values import computed, values_of

aten = torch.ops.aten
_MASKS = (torch.bool, torch.uint8)


@contextmanager
def answered(answers: Answers, listener: Listener) -> Iterator[None]:
    """Answer data-dependent operators on fake tensors."""
    implementations = fake_impls.op_implementations_dict
    added = _implementations(answers, listener)
    before = {func: implementations.get(func) for func in added}
    implementations.update(added)
    try:
        yield
    finally:
        for func, original in before.items():
            if original is None:
                del implementations[func]
            else:
                implementations[func] = original


def _implementations(answers: Answers, listener: Listener) -> dict[Any, Callable[..., Any]]:
    def index(fake_mode: Any, func: Any, tensor: Tensor, indices: Any, *args: Any, **kwargs: Any) -> Any:
        if not any(each is not None and each.dtype in _MASKS for each in indices):
            return _as_without_answer(index, fake_mode, func, (tensor, indices, *args), kwargs)
        return func(tensor, _positions(indices, answers, listener), *args, **kwargs)

    def recurrent_backward(_mode: Any, _func: Any, x: Tensor, weights: Any, *args: Any, **_kwargs: Any) -> Any:
        _stride, buffer, hidden, cell = args[:4]
        return _recurrent_gradients(x, weights, buffer, (hidden, cell), listener)

    def number(_mode: Any, _func: Any, tensor: Tensor, *_: Any, **__: Any) -> Any:
        return answers.number(tensor)

    def truth(_mode: Any, _func: Any, tensor: Tensor, *_: Any, **__: Any) -> bool:
        return answers.truth(tensor)

    def equal(_mode: Any, _func: Any, first: Tensor, second: Tensor, *_: Any, **__: Any) -> bool:
        return answers.equality(first, second)

    originals = fake_impls.op_implementations_dict
    indexing = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
    index.originals = {func: originals.get(func) for func in indexing}  # type: ignore[attr-defined]
    selections = {func: _selection(answers, largest) for func, largest in _LARGEST.items()}
    return {
        **dict.fromkeys((aten._local_scalar_dense.default, aten.item.default), number),
        aten.is_nonzero.default: truth,
        **dict.fromkeys((aten.equal.default, aten.allclose.default), equal),
        **selections,
        aten._pack_padded_sequence.default: _pack,
        aten._cudnn_rnn_backward.default: recurrent_backward,
        **dict.fromkeys(indexing, index),
    }


def _selection(answers: Answers, largest: Callable[..., Any]) -> Callable[..., Any]:
    """An operator whose result's shape depends on data: as it is where that is known, else as large as it can be."""

    def run(_mode: Any, func: Any, tensor: Tensor, *args: Any, **named: Any) -> Any:
        known = computed(func, (tensor, *args), named)
        if known is None:
            return largest(answers, tensor, *args, **named)
        count = known[0].shape[0]
        taken = answers.counted(tensor, count, tensor.numel())
        shapes = [
            [taken if size == count and not axis else size for axis, size in enumerate(each.shape)] for each in known
        ]
        made = tuple(tensor.new_empty(shape, dtype=each.dtype) for shape, each in zip(shapes, known, strict=True))
        return made if len(func._schema.returns) > 1 else made[0]

    return run


def _as_without_answer(answer: Any, fake_mode: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the fake tensor mode would have done with an operator that needs no answer after all."""
    original = answer.originals[func]
    if original is not None:
        return original(fake_mode, func, *args, **kwargs)
    return NotImplemented


def _nonzero(answers: Answers, tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    return tensor.new_empty((answers.size(most_true(tensor)), tensor.dim()), dtype=torch.int64)


def _masked_select(answers: Answers, tensor: Tensor, mask: Tensor, *_: Any, **__: Any) -> Tensor:
    """Of what the mask says: what it selects from need not be known."""
    shape = torch.broadcast_shapes(tensor.shape, mask.shape)
    return tensor.new_empty((_selected(answers, mask, shape),))


def _selected(answers: Answers, mask: Tensor, shape: Sequence[int]) -> int:
    """How many elements a mask that is expanded to `shape` selects."""
    values, most = values_of(mask), math.prod(shape)
    if values is None:
        return answers.size(most_true(mask) * most // max(1, mask.numel()))
    with no_dispatch():
        count = int(values.expand(shape).count_nonzero())
    return answers.counted(mask, count, most)


def _unique(answers: Answers, tensor: Tensor, *flags: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor]:
    with_inverse = flags[1] if len(flags) > 1 else named.get("return_inverse", False)
    with_counts = flags[2] if len(flags) > 2 else named.get("return_counts", False)
    count = answers.size(tensor.numel())
    return (
        tensor.new_empty((count,)),
        tensor.new_empty(tensor.shape if with_inverse else (0,), dtype=torch.int64),
        tensor.new_empty((count if with_counts else 0,), dtype=torch.int64),
    )


def _unique_consecutive(
    answers: Answers, tensor: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    if dim is not None:
        return _unique_dim(answers, tensor, dim, True, return_inverse, return_counts)
    return _unique(answers, tensor, True, return_inverse, return_counts)


def _unique_dim(
    answers: Answers, tensor: Tensor, dim: int, _sorted: bool = True, inverse: bool = False, counts: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    length = tensor.shape[dim]
    count = answers.size(length)
    shape = [*tensor.shape]
    shape[dim] = count
    return (
        tensor.new_empty(shape),
        tensor.new_empty((length if inverse else 0,), dtype=torch.int64),
        tensor.new_empty((count if counts else 0,), dtype=torch.int64),
    )


def _bincount(answers: Answers, tensor: Tensor, *_: Any, minlength: int = 0, **__: Any) -> Tensor:
    return tensor.new_empty((max(answers.size(tensor.numel()), minlength),), dtype=torch.int64)


def _repeat_interleave(answers: Answers, repeats: Tensor, *args: Any, **named: Any) -> Tensor:
    output_size = args[0] if args else named.get("output_size")
    return repeats.new_empty((output_size or answers.size(repeats.numel()),))


_LARGEST = {
    aten.nonzero.default: _nonzero,
    aten.masked_select.default: _masked_select,
    aten._unique2.default: _unique,
    aten.unique_consecutive.default: _unique_consecutive,
    aten.unique_dim.default: _unique_dim,
    aten.bincount.default: _bincount,
    aten.repeat_interleave.Tensor: _repeat_interleave,
}


def _positions(indices: Any, answers: Answers, listener: Listener) -> list[Tensor | None]:
    """CUDA runs nonzero on every mask and indexes with what that finds."""
    positions: list[Tensor | None] = []
    for each in indices:
        if each is None or each.dtype not in _MASKS:
            positions.append(each)
            continue
        found = each.new_empty((_selected(answers, each, each.shape), each.dim()), dtype=torch.int64)
        listener.on_hidden_birth(found)
        positions.extend(found.unbind(1))
    return positions


def _pack(_mode: Any, _func: Any, x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    batch, time = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
    known = values_of(lengths)
    each = [time] * batch if known is None else [int(length) for length in known.tolist()]
    sizes = torch.tensor([sum(length > t for length in each) for t in range(max(each))])
    return x.new_empty((sum(each), *x.shape[2:])), sizes


def _recurrent_gradients(
    x: Tensor, weights: Any, buffer: Tensor, states: tuple[Tensor, Tensor | None], listener: Listener
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """cuDNN writes all weight gradients into one buffer, of which each is a view."""
    flat = buffer.new_empty((sum(weight.numel() for weight in weights),))
    listener.on_hidden_birth(flat)
    gradients, offset = [], 0
    for weight in weights:
        gradients.append(flat[offset : offset + weight.numel()].view(weight.shape))
        offset += weight.numel()
    hidden, cell = states
    return torch.empty_like(x), torch.empty_like(hidden), None if cell is None else torch.empty_like(cell), gradients
