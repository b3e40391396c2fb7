"""What a trial's process is given and what comes of it, also where it ended before it could say anything."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lrtool.results import Trial
from lrtool.results.stored.checked_json import json_text
from lrtool.results.stored.secrets import masked
from lrtool.results.stored.trial_dir import checked
from lrtool.sweep.executors.executor import Ended, status_of
from lrtool.sweep.executors.trial_kind import TrialKind
from lrtool.sweep.plan import PlannedTrial, Setup


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialFile:
    """What `trial.json` holds: all that a process needs to run the trial."""

    setup: Setup
    trial: PlannedTrial


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialReport:
    """What `result.json` holds, with the trial's own figures at its top.

    The LRs and the capacity are those it ran with, `trace` the user's own frames where their code failed,
    `exit_code` that of the error which ended it.
    """

    trial: Trial
    base_lr: float | None = None
    max_lr: float | None = None
    capacity_bytes: int | None = None
    trace: str | None = None
    hint: str | None = None
    exit_code: int | None = None


_OWN_KEYS = tuple(field.name for field in fields(TrialReport) if field.name != "trial")


class _SweepTrial(TrialKind[TrialFile, TrialReport]):
    def plain(self, report: TrialReport) -> dict[str, Any]:
        ran = asdict(report)
        return {**ran.pop("trial"), **ran}

    def parsed(self, content: bytes, *, source: Path) -> TrialReport:
        plain = checked(content, dict[str, Any], source=source)
        own = {name: plain.get(name) for name in _OWN_KEYS}
        trial = {name: value for name, value in plain.items() if name not in _OWN_KEYS}
        return checked(json_text({"trial": trial, **own}), TrialReport, source=source)


def _unreported(given: TrialFile, ended: Ended, last_words: str) -> TrialReport:
    setup, planned = given.setup, given.trial
    status, message = status_of(ended, last_words)
    return TrialReport(
        trial=Trial(
            number=planned.number,
            condition=replace(planned.condition, params=masked(planned.condition.params)),
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


SWEEP_TRIAL = _SweepTrial(module="lrtool.sweep.trial", given=TrialFile, report=TrialReport, unreported=_unreported)
