"""Trials as Ray tasks, on whatever nodes a cluster has; Ray is imported here and nowhere else.

A task does no more than run the trial in a fresh process on its node and send home the files that it wrote. So what ends
a trial is a result as it is at home, and the only thing that Ray can lose is a task, with the node it ran on: it is given
to another node. A trial whose result has come home is never run again.
"""

import logging
import os
import socket
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lrtool.config import ExecutorSettings
from lrtool.errors import UnavailableError
from lrtool.results import is_measured
from lrtool.results.stored.trial_dir import LOG_FILE, TRIAL_FILE
from lrtool.sweep.executors.executor import Demand, Ended, Job
from lrtool.sweep.executors.ray_task import Delivery, Order, run_order
from lrtool.units import parse_memory

MAX_LOSSES = 3
POLL_S = 0.5
HEAD_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRequest:
    """What a trial needs of its node."""

    num_cpus: float = 1
    num_gpus: float = 0
    memory_bytes: int | None = None


def open_executor(settings: ExecutorSettings, demand: Demand) -> "RayExecutor":
    """An executor on the cluster that the settings name. Raises UnavailableError."""
    request = TaskRequest(
        num_cpus=settings.trial_cpus,
        num_gpus=1 if is_measured(demand.recorder) else 0,
        memory_bytes=None if settings.trial_memory is None else parse_memory(settings.trial_memory),
    )
    return RayExecutor(address=settings.ray_address, request=request, timeout_s=demand.timeout_s)


class RayExecutor:
    """Runs every trial as a Ray task; Ray decides where, and how many at once."""

    def __init__(self, *, address: str | None, request: TaskRequest, timeout_s: float | None = None) -> None:
        """Join the cluster at `address` ("auto" is that of this machine), else start one here. Raises UnavailableError."""
        self._ray = import_ray()
        self._request, self._timeout_s = request, timeout_s
        self._joined_before, self._address = self._ray.is_initialized(), address
        self._join()

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]:
        self._join()
        running: dict[Any, _Attempt] = {}
        for job in jobs:
            self._submit(_Attempt(job=job), running)
        is_reachable = True
        try:
            while running:
                is_reachable = self._is_head_there()
                if not is_reachable:
                    raise UnavailableError(
                        f"the head of the Ray cluster at {self._head} is gone", hint="finished trials are kept"
                    )
                done, _ = self._ray.wait(list(running), timeout=POLL_S)
                for reference in done:
                    ended = self._collect(reference, running)
                    if ended is not None:
                        yield ended
        finally:
            self._leave(running, is_reachable=is_reachable)

    def _join(self) -> None:
        if not self._ray.is_initialized():
            self._start()
        self._head = self._ray.get_runtime_context().gcs_address

    def _start(self) -> None:
        address = self._address or os.environ.get("RAY_ADDRESS") or "local"
        try:
            _check_reachable(address)
            self._ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UnavailableError(
                f"no Ray cluster at {address}: {reason}",
                hint="see `ray status`, or leave --ray-address out to start one on this machine",
            ) from error

    def _submit(self, attempt: "_Attempt", running: "dict[Any, _Attempt]") -> None:
        request = self._request
        task = self._ray.remote(max_calls=1)(run_order).options(
            num_cpus=request.num_cpus,
            num_gpus=request.num_gpus,
            memory=request.memory_bytes,
            max_retries=0,
            scheduling_strategy="SPREAD",
        )
        running[task.remote(self._order(attempt.job))] = attempt

    def _order(self, job: Job) -> Order:
        return Order(
            name=job.folder.name,
            module=job.module,
            trial=(job.folder / TRIAL_FILE).read_bytes(),
            environment=dict(job.environment),
            folder=str(Path.cwd()),
            timeout_s=self._timeout_s,
            torch=version("torch"),
        )

    def _collect(self, reference: Any, running: "dict[Any, _Attempt]") -> Ended | None:
        """What a finished task delivered; None where its node was lost and the trial runs again elsewhere."""
        attempt = running.pop(reference)
        try:
            delivery: Delivery = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            if _is_lost(error) and attempt.num_losses < MAX_LOSSES:
                self._submit(_Attempt(job=attempt.job, num_losses=attempt.num_losses + 1), running)
                return None
            return attempt.ended_by(error)
        return _received(delivery, attempt.job.folder)

    def _is_head_there(self) -> bool:
        """Whether anybody listens at the head's address: Ray itself would wait for a minute, and then end this process."""
        try:
            _check_reachable(self._head)
        except OSError:
            return False
        return True

    def _leave(self, running: "Mapping[Any, _Attempt]", *, is_reachable: bool) -> None:
        if not is_reachable:
            return
        for reference in running:
            with suppress(self._ray.exceptions.RayError, ValueError):
                self._ray.cancel(reference, force=True)
        if not self._joined_before:
            self._ray.shutdown()


class _Attempt:
    """One submission of a trial, and how many of it were lost before."""

    def __init__(self, *, job: Job, num_losses: int = 0) -> None:
        self.job, self.num_losses = job, num_losses
        self._begin = time.monotonic()

    def ended_by(self, error: Exception) -> Ended:
        """A trial that Ray could not run."""
        text = str(error).strip().partition("\n")[0]
        (self.job.folder / LOG_FILE).write_text(f"{type(error).__name__}: {text}\n")
        return Ended(
            folder=self.job.folder,
            exit_code=UnavailableError.exit_code,
            signal=None,
            timed_out=False,
            duration_s=time.monotonic() - self._begin,
        )


def _received(delivery: Delivery, folder: Path) -> Ended:
    """Write the trial's files where a local process would have written them."""
    for name, content in delivery.files.items():
        (folder / name).write_bytes(content)
    return Ended(
        folder=folder,
        exit_code=delivery.exit_code,
        signal=delivery.signal,
        timed_out=delivery.timed_out,
        duration_s=delivery.duration_s,
    )


def _is_lost(error: Exception) -> bool:
    """Whether a task was lost with its node; what its own code raised was not, nor what memory it lacked."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"NodeDiedError", "WorkerCrashedError", "LocalRayletDiedError", "ObjectLostError"})


def _check_reachable(address: str) -> None:
    """Raises OSError where nobody listens at host:port; of other forms of an address nothing is known."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=HEAD_TIMEOUT_S).close()


def import_ray() -> Any:
    """Ray itself. Raises UnavailableError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise UnavailableError(
            "--executor ray needs Ray, which is not installed", hint="pip install 'lrtool[ray]'"
        ) from error
    return ray
