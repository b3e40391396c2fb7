"""Data loaders under a recorder: batches are loaded in this process, since workers would take the recorder along."""

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

from torch.utils.data import BatchSampler, DataLoader
from torch.utils.data.dataloader import _SingleProcessDataLoaderIter

from lrtool.memory.fake_cuda_api import replaced
from lrtool.memory.storage_recorder import StorageRecorder

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
    """Every DataLoader loads in this process for the body, and what it makes is known as input."""

    class LoaderIterator(_SingleProcessDataLoaderIter):
        def __next__(self) -> Any:
            with recorder.loading():
                return super().__next__()

    def start(loader: DataLoader[Any]) -> LoaderIterator:
        before = {name: getattr(loader, name) for name in _OF_WORKERS}
        try:
            for name, value in _OF_WORKERS.items():
                setattr(loader, name, value)
            with recorder.loading():
                return LoaderIterator(loader)
        finally:
            for name, value in before.items():
                setattr(loader, name, value)

    with replaced((DataLoader, "_get_iterator", start)):
        yield
