"""Many ranks in one process, for tracing alone: a process group that exchanges nothing, and DDP and fully_shard in it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.fsdp._fully_shard import _fsdp_param
from torch.nn.parallel import DistributedDataParallel

from lrtool.errors import UnavailableError
from lrtool.results import Shard
from lrtool.tracing.patching import replaced
from lrtool.workload.blocks import blocks_to_shard
from lrtool.workload.devices import place
from lrtool.workload.distributed.wrapping import wrap, wrapping_of
from lrtool.workload.workload import Workload


@contextmanager
def simulated_ranks(world_size: int, *, rank: int = 0) -> Iterator[None]:
    """This process as one of `world_size` ranks whose collectives return at once, without data.

    Raises UnavailableError where this torch has no fake process group.
    """
    try:
        from torch.testing._internal.distributed.fake_pg import FakeStore
    except ImportError as error:
        raise UnavailableError(
            f"this torch has no fake process group: {error}", hint="leave --world-size out, or update torch"
        ) from error
    dist.init_process_group("fake", rank=rank, world_size=world_size, store=FakeStore())
    try:
        with replaced(*without_exchange()):
            yield
    finally:
        dist.destroy_process_group()


def spread_simulated(workload: Workload, shard: Shard, *, device: torch.device) -> Workload:
    """The workload as one of the ranks trains it: wrapped in DDP ("none"), or its parameters sharded ("fsdp2").

    One that its user has distributed already is left alone.
    """
    if wrapping_of(workload.model) != "none":
        return workload
    if shard == "fsdp2":
        return _sharded(workload, device)
    if dist.get_world_size() == 1:
        return workload
    place(workload, device)
    return wrap(workload)[0]


def _sharded(workload: Workload, device: torch.device) -> Workload:
    """Every repeated block by itself, then the rest, as fully_shard's documentation advises.

    A block is moved and sharded before the next one is moved, so that a model too large for one device need not fit.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    groups = _let_go(workload)
    blocks = blocks_to_shard(workload.model)
    for block in blocks:
        block.to(device)
        fully_shard(block, mesh=mesh)
    in_blocks = {module for block in blocks for module in block.modules()}
    for module in workload.model.modules():
        if module not in in_blocks:
            module._apply(lambda tensor: tensor.to(device), recurse=False)
    fully_shard(workload.model, mesh=mesh)
    sharded = dict(workload.model.named_parameters())
    for group, names in zip(workload.optimizer.param_groups, groups, strict=True):
        group["params"] = [sharded[name] for name in names]
    return workload


def _let_go(workload: Workload) -> list[list[str]]:
    """Take the parameters out of the optimizer, which would keep them whole beside their shards; their names by group."""
    names = {id(parameter): name for name, parameter in workload.model.named_parameters()}
    groups = workload.optimizer.param_groups
    held = [[names[id(parameter)] for parameter in group["params"] if id(parameter) in names] for group in groups]
    for group in groups:
        group["params"] = []
    return held


def without_exchange() -> list[tuple[Any, str, Any]]:
    """What lets DDP and fully_shard work where nothing is exchanged, as changes of attributes."""
    register = DistributedDataParallel.register_comm_hook
    changes = [
        (DistributedDataParallel, "__init__", _constructor(DistributedDataParallel.__init__, register)),
        (DistributedDataParallel, "register_comm_hook", _leave_out),
    ]
    return (
        [*changes, (_fsdp_param, "_chunk_with_empty", _Chunks)]
        if hasattr(_fsdp_param, "_chunk_with_empty")
        else changes
    )


def _constructor(original: Callable[..., None], register: Callable[..., None]) -> Callable[..., None]:
    """DDP's constructor without its comparison of the ranks' models, which would fail."""

    def construct(self: DistributedDataParallel, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **{**named, "init_sync": False})
        register(self, None, _keep_bucket)
        self.logger = _SilentLogger(self.logger)

    return construct


def _leave_out(_self: DistributedDataParallel, _state: object, _hook: object) -> None:
    """A hook for the exchange of gradients has nothing to exchange; what it allocates itself is not counted."""


def _keep_bucket(_state: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """The gradients of a bucket, averaged with nobody's: the fake group's own answer is empty."""
    future: torch.futures.Future[Tensor] = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


class _Chunks(Sequence[Tensor]):
    """The parts of a parameter over the ranks, each made when it is asked for: this rank asks for two of a thousand."""

    def __init__(self, tensor: Tensor, num_chunks: int, dim: int) -> None:
        self._tensor, self._num_chunks, self._dim = tensor, num_chunks, dim

    def __len__(self) -> int:
        return self._num_chunks

    def __getitem__(self, index: Any) -> Any:
        length = self._tensor.size(self._dim)
        size = -(-length // self._num_chunks)
        start = min(index * size, length)
        return self._tensor.narrow(self._dim, start, min(size, length - start))


class _SilentLogger:
    """DDP's logger without its timers, which need a device that is there."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def set_runtime_stats_and_log(self) -> None:
        pass
