"""What a trial's process is given and what comes of it, also where it died before it could say anything."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lrtool.results import Trial, TrialStatus
from lrtool.results.trial_dir import checked, read_json, write_json
from lrtool.sweep.executors.executor import Ended
from lrtool.sweep.plan import PlannedTrial, Setup
from lrtool.units import format_duration


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialFile:
    """What `trial.json` holds: all that a process needs to run the trial."""

    setup: Setup
    trial: PlannedTrial


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialReport:
    """What `result.json` holds, with the trial's own figures at its top.

    The LRs and the capacity are those it ran with, `trace` the user's own frames where their code failed.
    """

    trial: Trial
    base_lr: float | None = None
    max_lr: float | None = None
    capacity_bytes: int | None = None
    trace: str | None = None
    hint: str | None = None


REPORT_KEYS = tuple(field.name for field in fields(TrialReport) if field.name != "trial")


def write_report(path: Path, report: TrialReport) -> None:
    """Raises UnavailableError."""
    ran = asdict(report)
    write_json(path, {**ran.pop("trial"), **ran})


def read_report(path: Path) -> TrialReport:
    """Raises UsageError naming the file and the first field that is wrong."""
    flat = read_json(path, dict[str, Any])
    own = {name: flat.pop(name, None) for name in REPORT_KEYS}
    return checked({"trial": flat, **own}, TrialReport, source=path)


def report_of_ending(setup: Setup, planned: PlannedTrial, ended: Ended, *, last_words: str) -> TrialReport:
    """The report of a process that ended without one; `last_words` is the last line of its log."""
    status, message = _how(ended, last_words)
    return TrialReport(
        trial=Trial(
            number=planned.number,
            condition=planned.condition,
            repeat=planned.repeat,
            position=planned.position,
            seed=planned.seed,
            num_steps=planned.num_steps,
            num_steps_done=0,
            num_steps_traced=None,
            status=status,
            message=message,
            recorder=setup.recorder,
            max_memory_allocated_bytes=None,
            max_memory_reserved_bytes=None,
            max_memory_active_bytes=None,
            fragmentation=None,
            split_fragmentation=None,
            inactive_split_bytes=None,
            num_alloc_retries=None,
            device_allocs_per_step=None,
            growth=None,
            growth_sources=(),
            death=None,
            other_processes_bytes=None,
            duration_s=ended.duration_s,
        )
    )


def _how(ended: Ended, last_words: str) -> tuple[TrialStatus, str]:
    if ended.timed_out:
        return "timeout", f"not done after {format_duration(ended.duration_s)}"
    if ended.signal == "SIGKILL":
        return "killed", "killed by SIGKILL; where nobody did that, this machine ran out of memory"
    if ended.signal is not None:
        return "killed", f"killed by {ended.signal}"
    return "failed", f"its process ended with exit code {ended.exit_code}{f': {last_words}' if last_words else ''}"
