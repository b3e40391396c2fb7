"""What an executor is given and yields: a trial to run, and how its process ended."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lrtool.memory.allocator.environment import NEW_NAME, OLD_NAME
from lrtool.results import Recorder, TrialStatus, is_measured
from lrtool.units import format_duration


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A trial to run: its folder, the module whose `run_trial` runs it, and what is added to its process's environment.

    `may_be_forked` says that its process may come from a template, which has imported torch already.
    """

    folder: Path
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)
    may_be_forked: bool = False


def job_of(folder: Path, *, recorder: Recorder, module: str, settings: str = "") -> Job:
    """A trial under the allocator's `settings`, in the process that its recorder needs.

    A GPU's libraries and its allocator read their settings as they are loaded: a process that uses one is never forked.
    """
    if not is_measured(recorder):
        return Job(folder=folder, module=module, may_be_forked=True)
    environment = {OLD_NAME: settings, NEW_NAME: settings} if settings else {}
    return Job(folder=folder, module=module, environment=environment)


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What trials ask of the executor that runs them: how they record, how many may run at once, and for how long each."""

    recorder: Recorder
    device: str
    jobs: int = 1
    timeout_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a trial's process ended: with an exit code, or by the signal of that name."""

    folder: Path
    exit_code: int | None
    signal: str | None
    timed_out: bool
    duration_s: float


def status_of(ended: Ended, last_words: str) -> tuple[TrialStatus, str]:
    """How a trial ended whose process left no report, and that in words; `last_words` is the last line of its log."""
    if ended.timed_out:
        return "timeout", f"not done after {format_duration(ended.duration_s)}"
    if ended.signal == "SIGKILL":
        return "killed", "killed by SIGKILL; where nobody did that, this machine ran out of memory"
    if ended.signal is not None:
        return "killed", f"killed by {ended.signal}"
    return "failed", f"its process ended with exit code {ended.exit_code}{f': {last_words}' if last_words else ''}"


class Executor(Protocol):
    """Runs jobs, which it takes one by one, and tells of each as it ends; closing the iterator ends what still runs."""

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]: ...


def run_one(executor: Executor, job: Job) -> Ended:
    """Run a single trial."""
    with closing(executor.run([job])) as endings:
        return next(endings)
