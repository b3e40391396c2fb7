"""Keeps a run on several ranks from hanging: where one fails, all know of it, and no other waits for it in a collective.

Ranks tell each other through the launcher's key-value store, which works while collectives do not. A thread on each rank
listens there. In gloo nothing but the end of a peer frees a thread that waits for it, so a rank that is not needed any
more ends itself; in NCCL the communicator is aborted.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Self

import torch.distributed as dist
from torch._C._distributed_c10d import Store

from lrtool.workload.distributed.failures import (
    Position,
    RankFailure,
    failure_by,
    hang_of,
    is_broken_collective,
    lost,
    position_of,
)
from lrtool.workload.distributed.launch import Launch

POLL_S = 0.1
ANSWER_S = 2.0
RELEASE_S = 3.0
FAILURE, TROUBLE = "failure", "trouble"


class RankWatch:
    """Watches, while it is entered, over this rank's main thread and through the store over the other ranks."""

    def __init__(self, launch: Launch, store: Store, *, timeout_s: float, last_words: Callable[[], None]) -> None:
        """`timeout_s` without a step count as a hang; `last_words` are said by a rank that has to end itself."""
        self._launch, self._store = launch, store
        self._timeout_s, self._last_words = timeout_s, last_words
        self._main = threading.get_ident()
        self._step, self._last_beat = 0, time.monotonic()
        self._is_over, self._was_terminated = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="rank watch", daemon=True)

    def __enter__(self) -> Self:
        with suppress(ValueError):  # signals are handled in the main thread only
            signal.signal(signal.SIGTERM, lambda *_: self._was_terminated.set())
        self._last_beat = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def beat(self) -> None:
        """A step begins."""
        self._step += 1
        self._last_beat = time.monotonic()

    def tell(self, error: BaseException) -> RankFailure:
        """Make known what ended this rank's part, and return what ended the run: that, or what another rank told before."""
        if is_broken_collective(error) or self.told() is not None:
            return self._cause()
        return self._agree(failure_by(error, rank=self._launch.rank, step=self._step))

    def told(self) -> RankFailure | None:
        """What a rank has told."""
        if not self._store.check([FAILURE]):
            return None
        return RankFailure(**json.loads(self._store.get(FAILURE)))

    def _agree(self, failure: RankFailure) -> RankFailure:
        """The first failure that was told: this one, or an earlier one."""
        return RankFailure(**json.loads(self._store.compare_set(FAILURE, "", json.dumps(asdict(failure)))))

    def _cause(self) -> RankFailure:
        """What broke a collective: what the rank that left it told, else that somebody does not answer any more."""
        self._store.set(TROUBLE, "collective")
        wait_until(lambda: self.told() is not None, patience_s=ANSWER_S)
        silent = [rank for rank in self._others() if rank not in self._positions()]
        return self.told() or self._agree(lost(silent[0] if silent else self._launch.rank, step=self._step))

    def _run(self) -> None:
        """The thread: until the run is over, look for trouble; then answer it, and free the main thread if need be."""
        while not self._is_over.wait(POLL_S):
            try:
                if self._is_in_trouble():
                    self._answer()
                    break
            except RuntimeError:  # the store is gone, and with it the launcher or the rank that held it
                break
        self._free_main_thread()

    def _is_in_trouble(self) -> bool:
        is_late = time.monotonic() - self._last_beat > self._timeout_s
        if is_late or self._was_terminated.is_set():
            self._store.set(TROUBLE, "hang" if is_late else "terminated")
        return bool(self._store.check([TROUBLE]) or self._store.check([FAILURE]))

    def _answer(self) -> None:
        """Say where this rank stands; the first one also finds out who hangs."""
        position = position_of(sys._current_frames().get(self._main), step=self._step)
        self._store.set(f"position/{self._launch.rank}", json.dumps(asdict(position)))
        if self._launch.is_first and self._store.check([TROUBLE]) and self._store.get(TROUBLE) == b"hang":
            wait_until(lambda: len(self._positions()) == self._launch.world_size, patience_s=ANSWER_S)
            self._agree(hang_of(self._positions(), world_size=self._launch.world_size, timeout_s=self._timeout_s))

    def _positions(self) -> dict[int, Position]:
        keys = {rank: f"position/{rank}" for rank in range(self._launch.world_size)}
        return {rank: Position(**json.loads(self._store.get(key)))
                for rank, key in keys.items() if self._store.check([key])}  # fmt: skip

    def _others(self) -> list[int]:
        return [rank for rank in range(self._launch.world_size) if rank != self._launch.rank]

    def _free_main_thread(self) -> None:
        """Let it come out by itself; then break its collective, or end a rank whose end frees others; then interrupt it."""
        if self._is_over.wait(RELEASE_S):
            return
        if not self._launch.is_first:
            with suppress(RuntimeError):
                self._last_words()
            os._exit(0)
        release()
        if not self._is_over.wait(RELEASE_S):
            signal.pthread_kill(self._main, signal.SIGINT)


def release() -> None:
    """Abort the process group: under NCCL, whoever waits in one of its collectives is freed."""
    if dist.is_initialized():
        with suppress(Exception):
            getattr(dist.distributed_c10d, "_abort_process_group", dist.destroy_process_group)()


def wait_until(is_there: Callable[[], bool], *, patience_s: float) -> bool:
    """Wait for something to happen, in vain at most `patience_s` seconds; whether it has."""
    deadline = time.monotonic() + patience_s
    while not (happened := is_there()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return happened
