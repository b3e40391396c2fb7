"""A workload made ready for its rank: gradients averaged over the ranks, and each rank given its own share of the data."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset

from lrtool.results import Wrapping
from lrtool.workload.step import loss_of
from lrtool.workload.workload import Workload


class RankSampler(DistributedSampler[Any]):
    """A rank's share of what the loader's own sampler draws: every `world_size`-th sample.

    All ranks run that sampler with the same random numbers, so that together they see the batches of one process, in its
    order. As in DistributedSampler, samples from the beginning make the shares equally long.
    """

    def __init__(self, sampler: Any, *, rank: int, world_size: int) -> None:
        super().__init__(sampler, num_replicas=world_size, rank=rank, shuffle=False)
        self._sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        drawn = list(self._of_first_rank())
        padding = self.total_size - len(drawn)
        drawn += (drawn * (padding // max(len(drawn), 1) + 1))[:padding]
        return iter(drawn[self.rank : self.total_size : self.num_replicas])

    def _of_first_rank(self) -> Iterator[Any]:
        """The sampler's order under the random state of rank 0: ranks may have drawn unequally often since they began."""
        state = torch.get_rng_state()
        dist.broadcast(state, src=0)
        torch.set_rng_state(state)
        return iter(self._sampler)


@dataclass(frozen=True, kw_only=True, slots=True)
class Distributed:
    """A workload as its rank trains it, how it is wrapped, and what of its data is not split, if anything."""

    workload: Workload
    wrapping: Wrapping
    bucket_bytes: int
    note: str | None


def distribute(workload: Workload, *, rank: int, world_size: int) -> Distributed:
    """A workload whose model is on its device, wrapped in DDP unless the user already distributed it, and its data split."""
    loader, note = _split(workload.train_loader, rank=rank, world_size=world_size)
    wrapping = wrapping_of(workload.model)
    workload = replace(workload, train_loader=loader)
    if wrapping != "none":
        return Distributed(workload=workload, wrapping=wrapping, bucket_bytes=0, note=note)
    wrapped, parallel = wrap(workload)
    return Distributed(workload=wrapped, wrapping="ddp", bucket_bytes=bucket_bytes(parallel), note=note)


def wrap(workload: Workload) -> tuple[Workload, DistributedDataParallel]:
    """The workload under DDP, and that.

    DDP goes around model and loss together, so that a loss which calls methods of the model, or reads its attributes, is
    synchronised as well; a user's own `step` gets the wrapped model.
    """
    if workload.step is not None:
        parallel = DistributedDataParallel(workload.model)
        return replace(workload, model=parallel), parallel
    parallel = DistributedDataParallel(_WithLoss(workload))
    return replace(workload, loss=lambda model, batch: parallel(batch)), parallel


def wrapping_of(model: nn.Module) -> Wrapping:
    """How the user has distributed a model already."""
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel  # here: they load for a second
    from torch.distributed.tensor import DTensor

    modules = list(model.modules())
    if any(isinstance(module, FSDPModule) for module in modules):
        return "fsdp2"
    if any(isinstance(module, FullyShardedDataParallel) for module in modules):
        return "fsdp1"
    if any(isinstance(module, DistributedDataParallel) for module in modules):
        return "own ddp"
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return "own sharding"
    return "none"


def bucket_bytes(parallel: DistributedDataParallel) -> int:
    """The buckets that gradients are averaged in: a copy of all gradients, unless they are views of the buckets."""
    return sum(p.numel() * p.element_size() for p in parallel.parameters() if p.requires_grad)


class _WithLoss(nn.Module):
    """A model together with its loss, as one module from a batch to a scalar."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.model = workload.model
        self._loss = loss_of(workload)

    def forward(self, batch: Any) -> Any:
        return self._loss(self.model, batch)


def _split(loader: Any, *, rank: int, world_size: int) -> tuple[Any, str | None]:
    """The loader with a sampler for this rank, unless it has one or its kind cannot be split; and then why."""
    if not isinstance(loader, DataLoader):
        return loader, f"train_loader is a {type(loader).__name__}: every rank takes all of its batches"
    if isinstance(loader.dataset, IterableDataset):
        return loader, "the data set is iterable: it must split itself over the ranks"
    if isinstance(_sampler_of(loader), DistributedSampler):
        return loader, None
    if type(loader.batch_sampler) is not BatchSampler:
        return loader, "train_loader has a batch sampler of its own: it must split its batches over the ranks"
    if world_size == 1:
        return loader, None
    return _with_sampler(loader, RankSampler(loader.sampler, rank=rank, world_size=world_size)), None


def _sampler_of(loader: DataLoader[Any]) -> Any:
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def _with_sampler(loader: DataLoader[Any], sampler: RankSampler) -> DataLoader[Any]:
    """A loader like the given one, but for the sampler."""
    same = (
        "dataset", "batch_size", "num_workers", "collate_fn", "pin_memory", "drop_last", "timeout", "worker_init_fn",
        "multiprocessing_context", "generator", "prefetch_factor", "persistent_workers", "pin_memory_device",
    )  # fmt: skip
    return DataLoader(sampler=sampler, **{name: getattr(loader, name) for name in same})
