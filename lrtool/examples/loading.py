"""DataLoaders over tensors that are in memory already: a whole batch is one indexing call, not one call a sample."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Batch = tuple[Tensor, ...]


class TensorBatches(Dataset[Batch]):
    """Tensors of equal first dimension; DataLoader hands `__getitems__` all indices of a batch at once."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> Batch:
        return tuple(tensor[index] for tensor in self.tensors)

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = torch.as_tensor(indices)
        return tuple(tensor[rows] for tensor in self.tensors)


def as_it_is(batch: Any) -> Any:
    return batch


def loaders(
    tensors: Batch, *, num_train: int, batch_size: int, seed: int
) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
    """A shuffled training loader over `num_train` random samples and a validation loader over the rest."""
    order = torch.randperm(len(tensors[0]), generator=torch.Generator().manual_seed(0))
    train = TensorBatches(*(t[order[:num_train]] for t in tensors))
    rest = TensorBatches(*(t[order[num_train:]] for t in tensors))
    generator = torch.Generator().manual_seed(seed)
    shuffled = DataLoader(
        train, batch_size, shuffle=True, drop_last=True, collate_fn=as_it_is, generator=generator
    )  # fmt: skip
    return shuffled, DataLoader(rest, 512, collate_fn=as_it_is)
