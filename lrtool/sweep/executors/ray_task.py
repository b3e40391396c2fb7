"""What a Ray task does on its node: one trial in a fresh process there, whose files it sends back. Free of Ray."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from lrtool.errors import UnavailableError
from lrtool.results.stored.trial_dir import LOG_FILE, TRIAL_FILE
from lrtool.sweep.executors.executor import Job, run_one
from lrtool.sweep.executors.subprocess import SubprocessExecutor


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A trial to run: its module, the content of its trial.json, where relative paths begin, and the torch it needs."""

    name: str
    module: str
    trial: bytes
    environment: Mapping[str, str]
    folder: str
    timeout_s: float | None
    torch: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """How the trial's process ended, and every file it left, by its path below the trial's folder and the run's."""

    files: Mapping[str, bytes]
    exit_code: int | None
    signal: str | None
    timed_out: bool
    duration_s: float


def run_order(order: Order) -> Delivery:
    """Run a trial on this node, unless its figures could not be compared with those of the others."""
    here = version("torch")
    if here != order.torch:
        return _refused(
            f"node {os.uname().nodename} has torch {here}, the sweep runs under {order.torch}: install the same everywhere"
        )
    if Path(order.folder).is_dir():
        os.chdir(order.folder)
    with tempfile.TemporaryDirectory(prefix="lrtool-") as run_dir:
        folder = Path(run_dir) / "trials" / order.name
        folder.mkdir(parents=True)
        (folder / TRIAL_FILE).write_bytes(order.trial)
        executor = SubprocessExecutor(timeout_s=order.timeout_s)
        ended = run_one(executor, Job(folder=folder, module=order.module, environment=order.environment))
        return Delivery(
            files={path.name: path.read_bytes() for path in folder.iterdir() if path.name != TRIAL_FILE},
            exit_code=ended.exit_code,
            signal=ended.signal,
            timed_out=ended.timed_out,
            duration_s=ended.duration_s,
        )


def _refused(reason: str) -> Delivery:
    return Delivery(
        files={LOG_FILE: f"{reason}\n".encode()},
        exit_code=UnavailableError.exit_code,
        signal=None,
        timed_out=False,
        duration_s=0.0,
    )
