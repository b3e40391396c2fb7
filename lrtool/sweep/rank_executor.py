"""Trials under a launcher: every rank runs its part of a trial in a fresh process, and the first one brings them together.

The ranks themselves belong to no process group; the processes of a trial make one of their own. So a trial that takes
its ranks down, or hangs in a collective, ends with its processes.
"""

import json
import os
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from torch._C._distributed_c10d import Store

from lrtool.distributed.launch import GROUP, Launch
from lrtool.results import RankMemory, compare_ranks
from lrtool.sweep.executors import Ended, Job, SubprocessExecutor
from lrtool.sweep.reports import TrialFile, TrialReport, read_report, report_of_ending, write_report
from lrtool.trial_store import LOG_FILE, RESULT_FILE, TRIAL_FILE, read_json

POLL_S = 0.05
GRACE_S = 10.0
OVER = "over"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one rank has of a trial: its report, and every file its process left."""

    rank: int
    report: TrialReport
    files: Mapping[str, bytes]


class RankExecutor:
    """On the first rank: hands each trial to all ranks, and keeps the files of the one that ended it or took the most."""

    def __init__(self, launch: Launch, store: Store, *, timeout_s: float | None = None) -> None:
        self._launch, self._store, self._timeout_s = launch, store, timeout_s

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]:
        try:
            for number, job in enumerate(jobs):
                trial = (job.folder / TRIAL_FILE).read_text()
                order = {"name": job.folder.name, "trial": trial, "environment": dict(job.environment)}
                self._store.set(f"order/{number}", json.dumps(order))
                ended = run_part(self._launch, self._store, number, job, timeout_s=self._timeout_s)
                parts = [self._part(number, rank) for rank in range(self._launch.world_size)]
                write_together(job.folder, parts)
                yield ended
        finally:
            self._store.set(OVER, "")

    def _part(self, number: int, rank: int) -> Part:
        key = f"part/{number}/{rank}"
        self._store.wait([key])
        files = {name: b64decode(text) for name, text in json.loads(self._store.get(key)).items()}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / RESULT_FILE
            file.write_bytes(files[RESULT_FILE])
            return Part(rank=rank, report=read_report(file), files=files)


def follow(launch: Launch, store: Store, *, timeout_s: float | None) -> None:
    """On every other rank: run its part of each trial that the first one hands out, until there are no more."""
    number = 0
    while True:
        while not store.check([f"order/{number}"]):
            if store.check([OVER]):
                return
            time.sleep(POLL_S)
        order = json.loads(store.get(f"order/{number}"))
        with tempfile.TemporaryDirectory(prefix="lrtool-") as run_dir:
            folder = Path(run_dir) / "trials" / order["name"]
            folder.mkdir(parents=True)
            (folder / TRIAL_FILE).write_text(order["trial"])
            run_part(launch, store, number, Job(folder=folder, environment=order["environment"]), timeout_s=timeout_s)
        number += 1


def run_part(launch: Launch, store: Store, number: int, job: Job, *, timeout_s: float | None) -> Ended:
    """Run this rank's process of a trial; one that goes on long after another rank's has failed is ended."""
    environment = {**job.environment, GROUP: f"trial/{number}", **_own_gpu(launch)}
    executor = SubprocessExecutor(timeout_s=timeout_s, is_given_up=_Patience(store, f"failed/{number}").is_over)
    with closing(executor.run([replace(job, environment=environment)])) as endings:
        ended = next(endings)
    report = _report(job.folder, ended)
    if report.trial.status != "ok":
        store.compare_set(f"failed/{number}", "", str(launch.rank))
    files = {path.name: b64encode(path.read_bytes()).decode() for path in job.folder.iterdir() if path.is_file()}
    store.set(f"part/{number}/{launch.rank}", json.dumps(files))
    return ended


def write_together(folder: Path, parts: list[Part]) -> None:
    """The trial of all ranks in the folder: that of the rank which ended it, else of the one which took the most."""
    told = _first_failed(parts) or max(parts, key=lambda part: part.report.trial.max_memory_reserved_bytes or 0)
    for name, content in told.files.items():
        (folder / name).write_bytes(content)
    trial, failed = told.report.trial, told.report.trial.status != "ok"
    ranks = compare_ranks(
        tuple(_memory(part) for part in parts),
        backend="nccl" if trial.recorder == "cuda" else "gloo" if trial.recorder == "cpu" else "simulated",
        wrapping="ddp",
        bucket_bytes=trial.most_by_category.get("gradient bucket", 0),
        failed_rank=told.rank if failed else None,
    )
    message = f"rank {told.rank}: {trial.message or trial.status}" if failed else trial.message
    write_report(folder / RESULT_FILE, replace(told.report, trial=replace(trial, ranks=ranks, message=message)))


def _first_failed(parts: list[Part]) -> Part | None:
    """The rank that failed by itself: others then fail for want of it."""
    failed = [part for part in parts if part.report.trial.status != "ok"]
    order = {"oom": 0, "killed": 1, "failed": 2, "timeout": 3, "interrupted": 4}
    collateral = ("Connection closed", "Connection reset", "gloo", "NCCL")
    return min(
        failed,
        key=lambda part: (
            any(word in (part.report.trial.message or "") for word in collateral),
            order.get(part.report.trial.status, 5),
        ),
        default=None,
    )


def _memory(part: Part) -> RankMemory:
    trial = part.report.trial
    return RankMemory(
        rank=part.rank,
        device="cpu" if trial.recorder == "cpu" else "cuda",
        peak_allocated_bytes=trial.max_memory_allocated_bytes,
        peak_reserved_bytes=trial.max_memory_reserved_bytes,
        peak_resident_bytes=None,
    )


def _report(folder: Path, ended: Ended) -> TrialReport:
    """What the process wrote, else what its end says; then that is written."""
    file = folder / RESULT_FILE
    if file.is_file():
        return read_report(file)
    given = read_json(folder / TRIAL_FILE, TrialFile)
    last_words = (folder / LOG_FILE).read_text(errors="replace").strip().rpartition("\n")[2]
    report = report_of_ending(given.setup, given.trial, ended, last_words=last_words)
    write_report(file, report)
    return report


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
