"""Answers to what depends on data that fake tensors do not have: numbers, truth values, and sizes of selections.

What follows from the batch is answered as it is. Elsewhere training goes on as it normally does: a check for trouble finds
none, an assertion passes, an optimizer steps, a loop runs on, and a selection is as large as it can be. Each such answer is
an assumption of the prediction.
"""

import ast
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import fake_impls
from torch.utils._mode_utils import no_dispatch

from lrtool.memory.fake_cuda.asking import Asker, find_asker
from lrtool.memory.fake_cuda.listener import Listener
from lrtool.memory.fake_cuda.truths import expected_truth
from lrtool.memory.fake_cuda.values import computed, is_drawn, number_in, values_of
from lrtool.results import AssumptionKind

aten = torch.ops.aten
_MASKS = (torch.bool, torch.uint8)
_ASKED_TOO_OFTEN = 1000
"""After so many equal answers at one line the other is given once: a loop must end."""
_COMPUTED = "as computed along on the CPU"
_UNNAMED: dict[AssumptionKind, str] = {"value": "a value", "size": "the size of a selection"}
_YES_NO = {True: "yes", False: "no"}


class Answers:
    """Gives the answers, and tells `listener` of each that is an assumption.

    At the lines `other_at` the other one is given; of `shares`, by line, a selection whose size is not known takes that
    part. `seen_shares` are those of selections that are known; if `is_exact`, these have their size in each step.
    """

    def __init__(
        self,
        listener: Listener,
        *,
        other_at: frozenset[str] = frozenset(),
        shares: Mapping[str, float] = MappingProxyType({}),
        is_exact: bool = False,
    ) -> None:
        self.seen_shares: dict[str, float] = {}
        self._listener = listener
        self._other_at, self._shares, self._is_exact = other_at, shares, is_exact
        self._times: Counter[str] = Counter()
        self._num_numbers = 0

    def number(self, tensor: Tensor) -> Any:
        """A plausible `.item()`; the true one where it is known."""
        fixed = getattr(tensor, "_lrtool_answer", None)
        if fixed is not None:
            return fixed
        if tensor.dtype is torch.bool:
            return self.truth(tensor)
        value, asker = number_in(tensor), find_asker()
        comparison = None if asker is None or asker.wish is None else _comparison(asker)
        if value is not None:
            return self._known_number(tensor, value, asker, comparison)
        if asker is None or asker.wish is None or comparison is None:
            self._tell("value", asker, "about 1")
            return self._usual_number(tensor)
        answer = comparison.number(self._chosen(asker, asker.wish), is_whole=not tensor.is_floating_point())
        self._tell("value", asker, f"{answer:g}", is_branch=True)
        return answer

    def truth(self, tensor: Tensor) -> bool:
        """The answer to `if tensor`."""
        value, asker = number_in(tensor), find_asker()
        if value is not None:
            if not is_drawn(tensor):
                return bool(value)
            answer = self._chosen(asker, bool(value))
            self._tell("value", asker, f"{_YES_NO[answer]}, {_COMPUTED}", is_branch=True)
            return answer
        if tensor.dtype is not torch.bool:
            return bool(self.number(tensor))
        answer, is_certain = expected_truth(tensor)
        if not is_certain:
            answer = self._chosen(asker, answer if asker is None or asker.wish is None else asker.wish)
        self._tell("value", asker, _YES_NO[answer], is_branch=not is_certain)
        return answer

    def equality(self, first: Tensor, second: Tensor) -> bool:
        """Of torch.equal and torch.allclose."""
        one, other = values_of(first), values_of(second)
        if one is not None and other is not None:
            with no_dispatch():
                return one.shape == other.shape and torch.allclose(one, other)
        asker = find_asker()
        answer = self._chosen(asker, True if asker is None or asker.wish is None else asker.wish)
        self._tell("value", asker, _YES_NO[answer], is_branch=True)
        return answer

    def size(self, most: int) -> int:
        """How many of `most` elements a selection takes, which is not known: all, unless a run on the CPU took fewer."""
        asker = find_asker()
        share = 1.0 if asker is None else self._shares.get(asker.site, 1.0)
        count = min(1, most) if self._is_other(asker) else math.ceil(share * most)
        self._tell("size", asker, f"{count:,} of {most:,}", is_branch=True)
        return count

    def counted(self, tensor: Tensor, count: int, most: int) -> int:
        """How many a selection takes, which is known; where random numbers had a part in it, the most that it took so far.

        So steps become equal, as a run's peak is that of its largest; where a whole run on the CPU is followed, each is
        as it is.
        """
        if not is_drawn(tensor) or not most:
            return count
        asker = find_asker()
        self._tell("size", asker, _COMPUTED if self._is_exact else f"{_COMPUTED}, the most so far")
        if asker is None:
            return count
        share = max(self.seen_shares.get(asker.site, self._shares.get(asker.site, 0.0)), count / most)
        self.seen_shares[asker.site] = share
        return count if self._is_exact else round(share * most)

    def contents_unknown(self) -> None:
        """All of a tensor is read that nobody knows; it gets zeros."""
        self._tell("value", find_asker(), "zeros")

    def _known_number(self, tensor: Tensor, value: Any, asker: Asker | None, comparison: "_Comparison | None") -> Any:
        """The number itself; where it is compared, one for which the comparison comes out otherwise if that is wanted."""
        if not is_drawn(tensor):
            return value
        self._tell("value", asker, _COMPUTED, is_branch=comparison is not None)
        if comparison is None or not self._is_other(asker):
            return value
        return comparison.number(not comparison.holds(value), is_whole=not tensor.is_floating_point())

    def _usual_number(self, tensor: Tensor) -> float | int:
        """A loss that slowly falls towards 1."""
        self._num_numbers += 1
        return 1 + 1 / (1 + self._num_numbers) if tensor.is_floating_point() else 1

    def _chosen(self, asker: Asker | None, usual: bool) -> bool:
        """The usual answer, or the other one: where it is wanted, and now and then in a loop that would not end."""
        if asker is None:
            return usual
        self._times[asker.site] += 1
        return usual != (self._is_other(asker) or self._times[asker.site] % _ASKED_TOO_OFTEN == 0)

    def _is_other(self, asker: Asker | None) -> bool:
        return asker is not None and asker.site in self._other_at

    def _tell(self, kind: AssumptionKind, asker: Asker | None, taken: str, *, is_branch: bool = False) -> None:
        asked, site = (_UNNAMED[kind], None) if asker is None else (asker.text, asker.site)
        self._listener.on_assumption(kind, asked, taken, site if is_branch else None)


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


def remember_no_overflow(found_inf: Tensor) -> None:
    """A GradScaler that checks this tensor finds no overflow; otherwise it would skip every optimizer step."""
    found_inf._lrtool_answer = 0.0  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What a line compares a number with."""

    operator: type[ast.cmpop]
    bound: float

    def holds(self, number: float) -> bool:
        return bool(_COMPARED[self.operator](number, self.bound))

    def number(self, wished: bool, *, is_whole: bool) -> float | int:
        """A number for which it comes out as wished: 1 where that will do, else one near the bound."""
        step = 1.0 if is_whole or self.bound == 0 else abs(self.bound) / 2
        fitting = (
            each for each in (1.0, self.bound, self.bound - step, self.bound + step) if self.holds(each) == wished
        )
        number = next(fitting, 1.0)
        return round(number) if is_whole else number


_COMPARED: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip


def _comparison(asker: Asker) -> _Comparison | None:
    """The comparison of the number that is asked for with a constant."""
    compared = asker.comparison
    bound = None if compared is None else _constant(compared.comparators[0])
    if compared is None or bound is None or type(compared.ops[0]) not in _COMPARED:
        return None
    return _Comparison(type(compared.ops[0]), bound)


def _constant(node: ast.AST) -> float | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


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
    return tensor.new_empty((answers.size(tensor.numel()), tensor.dim()), dtype=torch.int64)


def _masked_select(answers: Answers, tensor: Tensor, mask: Tensor, *_: Any, **__: Any) -> Tensor:
    """Of what the mask says: what it selects from need not be known."""
    shape = torch.broadcast_shapes(tensor.shape, mask.shape)
    return tensor.new_empty((_selected(answers, mask, shape),))


def _selected(answers: Answers, mask: Tensor, shape: Sequence[int]) -> int:
    """How many elements a mask that is expanded to `shape` selects."""
    values, most = values_of(mask), math.prod(shape)
    if values is None:
        return answers.size(most)
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
