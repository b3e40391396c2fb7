"""A program that forms a process group itself is traced as one of its ranks: the others are taken for granted."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, wraps
from typing import Any

import torch.distributed as dist

from lrtool.tracing.fake_values.listener import Listener
from lrtool.tracing.patching import replaced

_FAKE = "fake"


@contextmanager
def own_groups(listener: Listener, labels: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Within the body any backend is one that exchanges nothing, as many ranks as the environment or the program says.

    Whoever forms a group without saying so forms one of a single rank. Groups that the body leaves are ended.
    The `labels` are on from the first group on.
    """
    if not dist.is_available() or dist.is_initialized():
        yield
        return
    labelling = ExitStack()
    begin = cache(lambda: labelling.enter_context(labels()))
    try:
        with replaced(*_changes(listener, begin)), labelling:
            yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _changes(listener: Listener, begin: Callable[[], None]) -> list[tuple[Any, str, Any]]:
    from torch.distributed import distributed_c10d as c10d

    from lrtool.tracing.tracer.simulated_ranks import without_exchange  # which a torch without ranks cannot import

    return [
        (c10d, "rendezvous", _meeting(listener)),
        (c10d, "_new_process_group_helper", _with_fake_backend(c10d._new_process_group_helper, begin)),
        *((module, "is_nccl_available", lambda: True) for module in (dist, c10d)),
        *without_exchange(),
    ]


def _meeting(listener: Listener) -> Callable[..., Iterator[tuple[Any, int, int]]]:
    """Where ranks meet, with nobody else there."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def meet(_url: str, rank: int = -1, world_size: int = -1, **_: Any) -> Iterator[tuple[Any, int, int]]:
        if world_size < 0 and not os.environ.get("WORLD_SIZE"):
            listener.on_assumption("devices", "how many ranks there are", "1, as WORLD_SIZE is not set")
        yield FakeStore(), _number(rank, "RANK", 0), _number(world_size, "WORLD_SIZE", 1)

    return meet


def _number(given: int, name: str, default: int) -> int:
    return given if given >= 0 else int(os.environ.get(name) or default)


def _with_fake_backend(original: Callable[..., Any], begin: Callable[[], None]) -> Callable[..., Any]:
    @wraps(original)
    def make(size: int, rank: int, ranks: Any, _backend: Any, store: Any, *rest: Any, **named: Any) -> Any:
        import torch.testing._internal.distributed.fake_pg  # noqa: F401 - registers the backend

        begin()
        named = {**named, "device_id": None} if "device_id" in named else named
        return original(size, rank, ranks, dist.Backend(_FAKE), store, *rest, **{**named, "backend_options": None})

    return make
