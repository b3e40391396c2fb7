"""Trials in processes of their own, several at once."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import lrtool
from lrtool.config import ExecutorSettings
from lrtool.results import is_measured
from lrtool.results.stored.trial_dir import LOG_FILE, RESULT_FILE
from lrtool.sweep.executors.executor import Demand, Ended, Job
from lrtool.sweep.executors.process import LIFELINE
from lrtool.sweep.executors.template import Forked, begin_own_template, template_for

PROCESS = "lrtool.sweep.executors.process"
POLL_S = 0.02
CAN_FORK = sys.platform == "linux"
"""Elsewhere a process that has loaded such libraries must not be forked."""
_INSTALLED = ("site-packages", "dist-packages")
_OF_THE_MOMENT = "PYTEST_CURRENT_TEST"
"""A variable that changes from test to test, and of which nothing depends that is imported: no reason for a new template."""


def open_executor(_: ExecutorSettings, demand: Demand) -> "SubprocessExecutor":
    """An executor on this machine: as many trials at once as asked for, but on CUDA one on each GPU."""
    return SubprocessExecutor(slots=_slots(demand), timeout_s=demand.timeout_s)


class SubprocessExecutor:
    """Runs every trial in a process of its own, as many at once as there are `slots`; a slot adds to the environment."""

    def __init__(
        self,
        *,
        slots: Sequence[Mapping[str, str]] = ({},),
        timeout_s: float | None = None,
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_given_up` is asked while trials run, and ends them."""
        self._slots = slots
        self._timeout_s = timeout_s
        self._is_given_up = is_given_up

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]:
        waiting, free, running = iter(jobs), deque(self._slots), list[_Child]()
        lifeline, held = os.pipe()
        try:
            while True:
                while free and (job := next(waiting, None)) is not None:
                    running.append(_Child(job, free.popleft(), lifeline, self._timeout_s))
                if not running:
                    return
                if self._is_given_up():
                    for child in running:
                        child.kill()
                for child in [child for child in running if child.has_ended()]:
                    running.remove(child)
                    free.append(child.slot)
                    yield child.ended()
                time.sleep(POLL_S)
        finally:
            for child in running:
                child.kill()
            os.close(lifeline)
            os.close(held)


class _Child:
    """The process of one trial; it leads a group of its own, so that Ctrl-C reaches the sweep alone."""

    def __init__(self, job: Job, slot: Mapping[str, str], lifeline: int, timeout_s: float | None) -> None:
        self.slot = slot
        self._job, self._lifeline = job, lifeline
        self._folder = job.folder
        self._timed_out = False
        self._timeout_s = timeout_s
        self._begin = time.monotonic()
        is_forked = CAN_FORK and job.may_be_forked
        self._process: subprocess.Popen[bytes] | Forked = self._forked() if is_forked else self._spawned()

    def _forked(self) -> Forked:
        environment, own = _template_environment()
        with (self._folder / LOG_FILE).open("wb") as log:
            return template_for(environment).fork(
                self._job.module,
                self._folder,
                {**own, **self._job.environment, **self.slot},
                log=log.fileno(),
                lifeline=self._lifeline,
            )

    def _spawned(self) -> "subprocess.Popen[bytes]":
        with (self._folder / LOG_FILE).open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", PROCESS, self._job.module, str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**_environment(), **self._job.environment, **self.slot, LIFELINE: str(self._lifeline)},
                pass_fds=(self._lifeline,),
                start_new_session=True,
            )

    def has_ended(self) -> bool:
        """Whether it is over; one that takes longer than it may is ended here."""
        if isinstance(self._process, Forked) and (self._process.never_began() or self._is_accident(self._process)):
            self._process = self._spawned()
        if self._process.poll() is None and self._timeout_s and time.monotonic() - self._begin > self._timeout_s:
            self._timed_out = True
            self.kill()
        return self._process.poll() is not None

    def _is_accident(self, process: Forked) -> bool:
        """Whether a trial ended because its template did: that is not its own end, unless it had stored its result."""
        process.poll()
        return process.is_lost and not (self._folder / RESULT_FILE).exists()

    def ended(self) -> Ended:
        self._kill_group()
        code = self._process.returncode
        return Ended(
            folder=self._folder,
            exit_code=code if code >= 0 else None,
            signal=_signal_name(-code) if code < 0 else None,
            timed_out=self._timed_out,
            duration_s=time.monotonic() - self._begin,
        )

    def kill(self) -> None:
        self._kill_group()
        self._process.wait()

    def _kill_group(self) -> None:
        """End the process and what it started, such as the workers of a DataLoader, which outlive a killed parent."""
        if isinstance(self._process, Forked):
            self._process.kill_group()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """This process's environment, with the folder that lrtool was imported from where it is not installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LRTOOL_")}
    root = Path(lrtool.__file__).resolve().parents[1]
    given = environment.get("PYTHONPATH")
    paths = [str(Path(path).absolute()) for path in given.split(os.pathsep)] if given else []
    if root.name not in _INSTALLED:
        paths.insert(0, str(root))
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)} if paths else environment


def _template_environment() -> tuple[dict[str, str], dict[str, str]]:
    """The environment of a template, and what a trial's has beside it."""
    environment = _environment()
    return environment, {name: environment.pop(name) for name in (_OF_THE_MOMENT,) if name in environment}


def begin_early() -> None:
    """Have the template forked from this process, before that does anything, where it can be."""
    if CAN_FORK:
        begin_own_template(lambda: _template_environment()[0])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _slots(demand: Demand) -> list[Mapping[str, str]]:
    if not is_measured(demand.recorder):
        return [{}] * demand.jobs
    if demand.device != "auto":
        return [{}]
    from lrtool.workload.devices import accelerator

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = visible if visible != [""] else [str(index) for index in range(accelerator().device_count())]
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[: demand.jobs]]
