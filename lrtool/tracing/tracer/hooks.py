"""What a trace hangs into the user's training: loaders, module names, optimizers and collectives."""

from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager, contextmanager
from functools import partial, wraps
from typing import Any, Protocol, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import Optimizer
from torch.utils.data import BatchSampler, DataLoader
from torch.utils.data.dataloader import _SingleProcessDataLoaderIter

from lrtool.results import Category
from lrtool.tracing.fake_values.unwatched import unwatched
from lrtool.tracing.patching import replaced
from lrtool.tracing.tracer.storage_recorder import StorageRecorder

_OF_WORKERS = {"num_workers": 0, "timeout": 0, "pin_memory": False}


def has_even_batches(loader: object) -> bool:
    """Whether a DataLoader is known to have no smaller last batch, so that an epoch's end is a step like any other."""
    sampler = getattr(loader, "batch_sampler", None)
    if type(sampler) is not BatchSampler or not isinstance(loader, DataLoader):
        return False
    try:
        return sampler.drop_last or len(cast(Sized, sampler.sampler)) % sampler.batch_size == 0
    except TypeError:
        return False


@contextmanager
def loading_in_process(recorder: StorageRecorder) -> Iterator[None]:
    """Every DataLoader loads in this process for the body, and what it makes on a GPU is known as input.

    Its work on the CPU comes by no mode: a batch is made of hundreds of operators for each of the model's.
    """

    class LoaderIterator(_SingleProcessDataLoaderIter):
        def __next__(self) -> Any:
            with recorder.loading(), unwatched():
                return super().__next__()

    def start(loader: DataLoader[Any]) -> LoaderIterator:
        before = {name: getattr(loader, name) for name in _OF_WORKERS}
        try:
            for name, value in _OF_WORKERS.items():
                setattr(loader, name, value)
            with recorder.loading(), unwatched():
                return LoaderIterator(loader)
        finally:
            for name, value in before.items():
                setattr(loader, name, value)

    with replaced((DataLoader, "_get_iterator", start)):
        yield


def state_tensors(optimizer: Optimizer) -> Iterator[object]:
    for state in optimizer.state.values():
        if isinstance(state, dict):
            yield from state.values()


@contextmanager
def watched_optimizers(recorder: StorageRecorder) -> Iterator[None]:
    """Know gradients as an optimizer steps, its state once it has, and that all in between is the optimizer's."""
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    def before(optimizer: Optimizer, *_: Any) -> None:
        gradients = (parameter.grad for group in optimizer.param_groups for parameter in group["params"])
        recorder.categorize(gradients, Category.GRADIENT)
        recorder.update_begins()

    def after(optimizer: Optimizer, *_: Any) -> None:
        recorder.categorize(state_tensors(optimizer), Category.OPTIMIZER_STATE)
        recorder.update_ends()

    hooks = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def watched_resizing(recorder: StorageRecorder) -> Iterator[None]:
    original = torch.UntypedStorage.resize_

    def resize(storage: torch.UntypedStorage, num_bytes: int) -> Any:
        result = original(storage, num_bytes)
        recorder.resized(storage)
        return result

    with replaced((torch.UntypedStorage, "resize_", resize)):
        yield


@contextmanager
def watched_autocast(recorder: StorageRecorder) -> Iterator[None]:
    """Autocast keeps its copies of weights in a map by address, and frees them in the order of that."""
    clear = torch.clear_autocast_cache

    def cleared() -> None:
        with recorder.log.freeing_together():
            clear()

    with replaced((torch, "clear_autocast_cache", cleared)):
        yield


class Named(Protocol):
    """What is told which module runs; modules that `module_names` does not know (by id) leave it as it is."""

    module: str | None
    module_names: Mapping[int, str]


@contextmanager
def watched_modules(told: Named) -> Iterator[None]:
    """Tell `told` of every module that runs in the body."""
    outer: list[str | None] = []

    def begins(module: nn.Module, _args: Any) -> None:
        outer.append(told.module)
        told.module = told.module_names.get(id(module), told.module)

    def ends(_module: nn.Module, _args: Any, _output: Any) -> None:
        told.module = outer.pop() if outer else None

    hooks = [register_module_forward_pre_hook(begins), register_module_forward_hook(ends, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def names_of(model: nn.Module) -> dict[int, str]:
    """Every module of the model by its id; the model itself goes by the name of its class."""
    return {id(module): name or type(model).__name__ for name, module in model.named_modules()}


@contextmanager
def watched_collectives(recorder: StorageRecorder) -> Iterator[None]:
    """Label what DDP and fully_shard allocate for themselves; nothing where this process belongs to no group of ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        yield
        return
    with labelled_collectives(recorder):
        yield


@contextmanager
def labelled_collectives(recorder: StorageRecorder) -> Iterator[None]:
    """Label what DDP and fully_shard allocate for themselves."""
    with replaced(*_labelled(recorder)):
        yield


def _labelled(recorder: StorageRecorder) -> Iterator[tuple[Any, str, Any]]:
    """DDP makes its buckets when it is built, and anew before its second forward pass, in the order of the gradients."""
    from torch.distributed.fsdp._fully_shard import _fsdp_param_group as groups
    from torch.distributed.tensor._sharding_prop import ShardingPropagator
    from torch.nn.parallel import DistributedDataParallel

    places = [
        (DistributedDataParallel, "__init__", Category.GRADIENT_BUCKET),
        (DistributedDataParallel, "_pre_forward", Category.GRADIENT_BUCKET),
        (groups, "foreach_all_gather", Category.COMMUNICATION_BUFFER),
        (groups, "foreach_reduce", Category.COMMUNICATION_BUFFER),
        (groups, "foreach_all_gather_copy_out", Category.UNSHARDED_PARAMETER),
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
