"""Cures that change the batches: in pieces, half of each, the longest first; and batches of a given size."""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from copy import copy
from dataclasses import replace
from itertools import chain, islice, pairwise
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lrtool.diagnosis.cures.applied import AppliedCure, CannotHelp, CureOptions, OnlyAdvice
from lrtool.diagnosis.cures.cure import Stage, cure
from lrtool.workload.workload import Workload, loader_length

PIECES = (4, 3, 2)


class Peeked:
    """A loader whose first batches were looked at; they come again, in their order, when it is first iterated.

    Nothing is drawn twice from any random generator, so training sees the batches that it would have seen.
    """

    def __init__(self, loader: Iterable[Any], count: int) -> None:
        self._loader = loader
        self._rest: Iterator[Any] | None = iter(loader)
        self.first = list(islice(self._rest, count))

    def __iter__(self) -> Iterator[Any]:
        rest, self._rest = self._rest, None
        return iter(self._loader) if rest is None else chain(self.first, rest)


class Rebatched:
    """A loader whose batches are made from those of another one, each of them into as many as `make` yields."""

    def __init__(self, loader: Iterable[Any], make: Callable[[Any], Iterable[Any]]) -> None:
        self._loader, self._make = loader, make

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(map(self._make, self._loader))


class SizedLoader:
    """A loader without a length, and the number of batches that it is known to have."""

    def __init__(self, loader: Iterable[Any], length: int) -> None:
        self._loader, self._length = loader, length

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def __len__(self) -> int:
        return self._length


@cure(
    name="accumulation",
    title="gradient accumulation",
    stage=Stage.BATCH_SIZE,
    time_by_operations=True,
    family="batch",
    note="same effective batch in smaller pieces; BatchNorm sees the pieces",
)
def accumulate(workload: Workload, _options: CureOptions) -> AppliedCure:
    """The same batches in a few pieces, one after the other, with one optimizer step for all of them."""
    if workload.step is not None:
        raise CannotHelp("its own step decides how a batch is used: accumulate there")
    loader = Peeked(workload.train_loader, 1)
    pieces = _num_pieces(_divisible_size(loader))
    changed = _sized(Rebatched(loader, lambda batch: _pieces(batch, pieces)), workload, num_pieces=pieces)
    return AppliedCure(
        workload=replace(workload, train_loader=changed, accumulate=workload.accumulate * pieces),
        how=(
            f"# DataLoader: batch_size divided by {pieces}",
            f"(loss / {pieces}).backward()",
            f"if (i + 1) % {pieces} == 0: optimizer.step(); optimizer.zero_grad()",
        ),
    )


@cure(
    name="half-batch",
    title="half the batch",
    stage=Stage.BATCH_SIZE,
    alters="training",
    keeps_batches=False,
    time_by_operations=True,
    family="batch",
    note="other gradients: look for the learning rate again",
)
def halve(workload: Workload, _options: CureOptions) -> AppliedCure:
    """The first half of every batch."""
    loader = Peeked(workload.train_loader, 1)
    half = _divisible_size(loader) // 2
    changed = Rebatched(loader, lambda batch: [part_of(batch, 0, max(1, batch_size(batch) // 2))])
    return AppliedCure(
        workload=replace(workload, train_loader=_sized(changed, workload)), how=(f"DataLoader(..., batch_size={half})",)
    )


@cure(
    name="longest-first",
    title="longest batch first",
    stage=Stage.BATCH_ORDER,
    keeps_batches=False,
    note="runs out at once or not at all; later, shorter batches fit into what it reserved",
)
def longest_first(workload: Workload, options: CureOptions) -> AppliedCure:
    """Of the batches that a trial takes, the one with the most elements comes first; the others follow in their order."""
    loader = Peeked(workload.train_loader, options.num_batches)
    sizes = list(map(_num_elements, loader.first))
    if len(set(sizes)) < 2:
        raise CannotHelp("all batches seen have the same shape")
    if sizes[0] == max(sizes):
        raise CannotHelp("the longest batch comes first already")
    loader.first.insert(0, loader.first.pop(sizes.index(max(sizes))))
    return AppliedCure(
        workload=replace(workload, train_loader=_sized(loader, workload)),
        how=(
            "longest = max(train_loader, key=lambda batch: batch[0].numel())",
            "train_step(longest)  # before the first epoch, so that memory is reserved once",
        ),
    )


@cure(name="bucketing", title="length bucketing", stage=Stage.BATCH_ORDER, alters="training")
def bucket_lengths(workload: Workload, options: CureOptions) -> AppliedCure:
    """Never changes anything: which samples come together is decided in the user's data. Raises OnlyAdvice or CannotHelp."""
    sizes = sorted(map(_num_elements, Peeked(workload.train_loader, options.num_batches).first))
    if len(set(sizes)) < 2:
        raise CannotHelp("all batches seen have the same shape")
    smallest, middle, largest = sizes[0], sizes[len(sizes) // 2], sizes[-1]
    raise OnlyAdvice(
        f"the largest of {len(sizes)} batches holds {largest / middle:.1f} times the elements of the middle one "
        f"({smallest:,} to {largest:,}): batch samples of like length, and cap the longest"
    )


def resized(workload: Workload, size: int) -> Workload:
    """The workload with batches of `size` samples, each a copy of the batch's first one: what memory they use is the same."""
    loader = Rebatched(workload.train_loader, lambda batch: [resize(batch, size)])
    return replace(workload, train_loader=_sized(loader, workload))


def batch_size(batch: Any) -> int:
    """Samples in a batch: the first dimension of its first tensor. Raises CannotHelp for a batch without one."""
    first = next(_tensors(batch), None)
    if first is None:
        raise CannotHelp(f"a batch of type {type(batch).__name__} has no tensors that could be divided")
    return len(first)


def part_of(batch: Any, start: int, stop: int) -> Any:
    """The samples from `start` to `stop` of a batch."""
    return _mapped(batch, batch_size(batch), lambda samples: samples[start:stop])


def resize(batch: Any, size: int) -> Any:
    """A batch of `size` samples, all of them the first one; tensors use no more memory for that before they are moved."""

    def repeated(samples: Any) -> Any:
        if isinstance(samples, Tensor):
            return samples[:1].expand(size, *samples.shape[1:])
        return type(samples)(samples[0] for _ in range(size))

    return _mapped(batch, batch_size(batch), repeated)


def _pieces(batch: Any, count: int) -> Iterable[Any]:
    """A batch in `count` pieces; one that has fewer samples is given whole as often, which has the same mean gradient."""
    size = batch_size(batch)
    if size < count:
        return [batch] * count
    ends = [size * number // count for number in range(count + 1)]
    return [part_of(batch, start, stop) for start, stop in pairwise(ends)]


def _num_pieces(size: int) -> int:
    """As many as divide the batch evenly, so that the mean of the pieces' gradients is that of the batch."""
    return next((count for count in PIECES if size % count == 0), PIECES[-1])


def _divisible_size(loader: Peeked) -> int:
    size = batch_size(loader.first[0]) if loader.first else 0
    if size < 2:
        raise CannotHelp("a batch has one sample only")
    return size


def _sized(loader: Iterable[Any], workload: Workload, *, num_pieces: int = 1) -> Iterable[Any]:
    """`loader` with `num_pieces` times the length that the workload's own one has, if it knows its length."""
    length = loader_length(workload.train_loader)
    return loader if length is None else SizedLoader(loader, length * num_pieces)


def _tensors(batch: Any) -> Iterator[Tensor]:
    """The tensors of a batch that have a dimension for its samples."""
    if isinstance(batch, PackedSequence):
        raise CannotHelp("a packed sequence cannot be divided")
    if isinstance(batch, Tensor):
        if batch.dim() > 0:
            yield batch
    elif isinstance(batch, Mapping):
        yield from chain.from_iterable(map(_tensors, batch.values()))
    elif isinstance(batch, tuple | list):
        yield from chain.from_iterable(map(_tensors, batch))


def _num_elements(batch: Any) -> int:
    return sum(tensor.numel() for tensor in _tensors(batch))


def _mapped(batch: Any, size: int, change: Callable[[Any], Any]) -> Any:
    """The batch with `change` applied to every tensor, or list without tensors, that has `size` samples."""
    if isinstance(batch, Tensor):
        return change(batch) if batch.dim() > 0 and len(batch) == size else batch
    if isinstance(batch, Mapping):
        changed = copy(batch) if isinstance(batch, MutableMapping) else {}
        for key, value in batch.items():
            changed[key] = _mapped(value, size, change)
        return changed
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_mapped(value, size, change) for value in batch))
    if isinstance(batch, tuple | list):
        if len(batch) == size and next(_tensors(batch), None) is None:
            return change(batch)
        return type(batch)(_mapped(value, size, change) for value in batch)
    return batch
