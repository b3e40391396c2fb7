"""Trials under a launcher: every rank runs its part of one in a process of its own, and the first brings them together.

The ranks themselves belong to no process group; the processes of a trial make one of their own. So a trial that takes
its ranks down, or hangs in a collective, ends with its processes.
"""

import json
import os
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import torch.distributed as dist
from torch._C._distributed_c10d import Store

from lrtool.results.stored.trial_dir import RESULT_FILE, TRIAL_FILE
from lrtool.small_file import read_small
from lrtool.sweep.executors.executor import Ended, Job, run_one
from lrtool.sweep.executors.subprocess import SubprocessExecutor
from lrtool.workload.distributed.launch import GROUP, Launch

POLL_S = 0.05
GRACE_S = 10.0
PART_TIMEOUT_S = 24 * 3600.0
OVER = "over"
ENDED_FILE = "ended.json"
"""Beside the files of a part: how its process ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one rank has of a trial: every file its process left, by name."""

    rank: int
    files: Mapping[str, bytes]


Together = Callable[[Path, Sequence[Part]], None]
"""Writes into a trial's folder what its ranks say together."""


class RankExecutor:
    """On the first rank: hands each trial to all ranks, and has `together` make one result of theirs."""

    def __init__(self, launch: Launch, store: Store, *, together: Together, timeout_s: float | None = None) -> None:
        self._launch, self._store = launch, store
        self._together, self._timeout_s = together, timeout_s

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]:
        try:
            for number, job in enumerate(jobs):
                trial = (job.folder / TRIAL_FILE).read_text()
                order = {
                    "name": job.folder.name,
                    "trial": trial,
                    "module": job.module,
                    "environment": {**job.environment},
                    "may_be_forked": job.may_be_forked,
                }
                self._store.set(f"order/{number}", json.dumps(order))
                ended = run_part(self._launch, self._store, number, job, timeout_s=self._timeout_s)
                self._together(job.folder, [self._part(number, rank) for rank in range(self._launch.world_size)])
                yield ended
        finally:
            self._store.set(OVER, "")

    def _part(self, number: int, rank: int) -> Part:
        key = f"part/{number}/{rank}"
        self._store.wait([key], timedelta(seconds=PART_TIMEOUT_S))
        files = json.loads(self._store.get(key))
        return Part(rank=rank, files={name: b64decode(text) for name, text in files.items()})


def follow(launch: Launch, store: Store, *, timeout_s: float | None) -> None:
    """On every other rank: run its part of each trial that the first one hands out, until there are no more."""
    with suppress(dist.DistError):  # the store is gone, and with it the first rank or the launcher
        for number in count():
            while not store.check([f"order/{number}"]):
                if store.check([OVER]):
                    return
                time.sleep(POLL_S)
            _run_order(launch, store, number, timeout_s=timeout_s)


def _run_order(launch: Launch, store: Store, number: int, *, timeout_s: float | None) -> None:
    order = json.loads(store.get(f"order/{number}"))
    with tempfile.TemporaryDirectory(prefix="lrtool-") as run_dir:
        folder = Path(run_dir) / "trials" / order["name"]
        folder.mkdir(parents=True)
        (folder / TRIAL_FILE).write_text(order["trial"])
        job = Job(
            folder=folder,
            module=order["module"],
            environment=order["environment"],
            may_be_forked=order["may_be_forked"],
        )
        run_part(launch, store, number, job, timeout_s=timeout_s)


def run_part(launch: Launch, store: Store, number: int, job: Job, *, timeout_s: float | None) -> Ended:
    """Run this rank's process of a trial; one that goes on long after another rank's has ended badly is ended."""
    environment = {**job.environment, GROUP: f"trial/{number}", **_own_gpu(launch)}
    executor = SubprocessExecutor(timeout_s=timeout_s, is_given_up=_Patience(store, f"failed/{number}").is_over)
    ended = run_one(executor, replace(job, environment=environment))
    if ended.exit_code != 0 or not (job.folder / RESULT_FILE).is_file() or has_failed(job.folder / RESULT_FILE):
        store.compare_set(f"failed/{number}", "", str(launch.rank))
    files = {path.name: b64encode(path.read_bytes()).decode() for path in job.folder.iterdir() if path.is_file()}
    files[ENDED_FILE] = b64encode(json.dumps({**asdict(ended), "folder": str(ended.folder)}).encode()).decode()
    store.set(f"part/{number}/{launch.rank}", json.dumps(files))
    return ended


def has_failed(result: Path) -> bool:
    """Whether a result tells of anything but success."""
    told = json.loads(read_small(result))
    return bool(told.get("status", "ok") != "ok" or told.get("exit_code"))


def _own_gpu(launch: Launch) -> dict[str, str]:
    """The GPU of this rank alone, where there are several; a process then calls it cuda:0."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if not visible:
        return {"CUDA_VISIBLE_DEVICES": str(launch.local_rank)}
    return {"CUDA_VISIBLE_DEVICES": visible[launch.local_rank]} if launch.local_rank < len(visible) else {}


class _Patience:
    """Becomes over some time after a key was set by another rank."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._since: float | None = None

    def is_over(self) -> bool:
        if self._since is None and self._store.check([self._key]):
            self._since = time.monotonic()
        return self._since is not None and time.monotonic() - self._since > GRACE_S
