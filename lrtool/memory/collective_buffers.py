"""Knows the memory that ranks exchange data in by its name: gradient buckets of DDP, and the buffers of fully_shard."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial, wraps
from typing import Any

import torch.distributed as dist

from lrtool.memory.fake_cuda_api import replaced
from lrtool.memory.storage_recorder import StorageRecorder

GRADIENT_BUCKET, COMMUNICATION, UNSHARDED = "gradient bucket", "communication buffer", "unsharded parameter"


@contextmanager
def watched_collectives(recorder: StorageRecorder) -> Iterator[None]:
    """Label what DDP and fully_shard allocate for themselves; nothing where this process belongs to no group of ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        yield
        return
    with replaced(*_labelled(recorder)):
        yield


def _labelled(recorder: StorageRecorder) -> Iterator[tuple[Any, str, Any]]:
    """DDP makes its buckets when it is built, and anew before its second forward pass, in the order of the gradients."""
    from torch.distributed.fsdp._fully_shard import _fsdp_param_group as groups
    from torch.distributed.tensor._sharding_prop import ShardingPropagator
    from torch.nn.parallel import DistributedDataParallel

    places = [
        (DistributedDataParallel, "__init__", GRADIENT_BUCKET),
        (DistributedDataParallel, "_pre_forward", GRADIENT_BUCKET),
        (groups, "foreach_all_gather", COMMUNICATION),
        (groups, "foreach_reduce", COMMUNICATION),
        (groups, "foreach_all_gather_copy_out", UNSHARDED),
    ]
    for owner, name, category in places:
        if hasattr(owner, name):
            yield owner, name, _within(partial(recorder.labelled, category), getattr(owner, name))
    shapes = "_propagate_tensor_meta_non_cached"
    if hasattr(ShardingPropagator, shapes):
        yield ShardingPropagator, shapes, _within(recorder.ignoring, getattr(ShardingPropagator, shapes))


def _within(context: Callable[[], AbstractContextManager[None]], function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        with context():
            return function(*arguments, **named)

    return called
