"""Small sweeps for tests: planned from a user file and run in this process, or in children."""

import importlib
import time
from collections.abc import Generator, Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from lrtool.config import MemSweepSettings
from lrtool.results import Recorder, Trial
from lrtool.results.schedules import values_of
from lrtool.results.stored.trial_dir import LOG_FILE
from lrtool.sweep.executors.executor import Ended, Executor, Job
from lrtool.sweep.plan import Plan, Setup, plan_trials
from lrtool.sweep.runner import begin_run, run_trials
from tests import WORKLOADS


class InlineExecutor:
    """Runs trials one by one in this process."""

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]:
        for job in jobs:
            begin = time.monotonic()
            run_trial = importlib.import_module(job.module).run_trial
            with (job.folder / LOG_FILE).open("w") as log, redirect_stdout(log), redirect_stderr(log):
                run_trial(job.folder)
            yield Ended(
                folder=job.folder, exit_code=0, signal=None, timed_out=False, duration_s=time.monotonic() - begin
            )


def plan_of(
    target: str,
    *,
    params: dict[str, Any] | None = None,
    recorder: Recorder = "predicted",
    capacity_bytes: int | None = None,
    **settings: Any,
) -> Plan:
    """The plan of a sweep over `tests/workloads/<target>.py`."""
    own = MemSweepSettings(**{"step_sizes": (5,), **settings})
    return Plan(
        setup=Setup(
            target=str(WORKLOADS / f"{target}.py"),
            recorder=recorder,
            device="auto",
            gpu="h100",
            capacity_bytes=capacity_bytes,
            base_lr=values_of(own.base_lr)[0] if own.base_lr else None,
            max_lr=values_of(own.max_lr)[0] if own.max_lr else None,
            history=own.history,
        ),
        recorder_reason="for a test",
        card=None,
        lr_source="for a test",
        trials=plan_trials(own, params=params or {}, seed=0),
        settings={},
    )


def run(plan: Plan, run_dir: Path, executor: Executor | None = None) -> list[Trial]:
    """Run a sweep in `run_dir` and return its trials by number."""
    run_dir.mkdir(exist_ok=True)
    begin_run(run_dir, plan)
    finished = run_trials(plan, run_dir, executor or InlineExecutor(), on_trial=lambda *progress: None)
    return [report.trial for report in finished.reports]


def processes_of(folder: Path) -> list[int]:
    """The processes whose output goes into a file below `folder`: its trials, and what they started."""
    found = []
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        with suppress(OSError):  # it ended meanwhile
            if output.readlink().is_relative_to(folder):
                found.append(int(output.parts[2]))
    return found


def is_gone(pid: int, *, within_s: float) -> bool:
    """Whether a process ends within so many seconds."""
    deadline = time.monotonic() + within_s
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()
