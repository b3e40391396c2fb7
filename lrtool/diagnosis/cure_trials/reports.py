"""What a cure's process is given and what comes of it, also where it ended before it could say anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lrtool.results import BatchTry, Recorder
from lrtool.results.stored.trial_dir import trial_dir
from lrtool.sweep.executors.executor import Ended, Job, status_of
from lrtool.sweep.executors.trial_kind import TrialKind

TrialEnding = Literal["ok", "oom", "cannot help", "advice", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CureSetup:
    """What all trials of cures share. `settings` are the allocator's that are there already, `modules` those to checkpoint."""

    target: str
    params: dict[str, Any]
    recorder: Recorder
    device: str
    gpu: str
    capacity_bytes: int | None
    seed: int
    num_steps: int
    settings: str = ""
    modules: tuple[str, ...] = ()
    gpus: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CureTrial:
    """One trial: the names of the `cures` it gets, none for the baseline, and the allocator's settings.

    `options` are the allocator's cures under which the same stream is replayed too, `asks_for` those of which it is found out
    whether they cannot help here, and `batch_size` for batches of that many samples; where losses are not wanted, a prediction
    computes nothing really.
    """

    number: int
    cures: tuple[str, ...] = ()
    settings: str = ""
    options: tuple[str, ...] = ()
    asks_for: tuple[str, ...] = ()
    batch_size: int | None = None
    wants_loss: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class CureTrialFile:
    """What `trial.json` holds."""

    setup: CureSetup
    trial: CureTrial


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsPeaks:
    """The peaks under one text of settings, in bytes; `name` is the cure it belongs to, "" the trial's own settings."""

    name: str
    settings: str
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    reserved_at_capacity_bytes: int | None
    fits: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A cure that has nothing to do here, or `is_advice` only, and why."""

    name: str
    reason: str
    is_advice: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CureReport:
    """What `result.json` holds. The first of `peaks` is that under the trial's own settings."""

    trial: CureTrial
    ending: TrialEnding
    message: str | None = None
    how: tuple[str, ...] = ()
    peaks: tuple[SettingsPeaks, ...] = ()
    refused: tuple[Refused, ...] = ()
    num_operations: int | None = None
    step_duration_s: float | None = None
    loss: float | None = None
    loss_device: str | None = None
    capacity_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MaxBatchReport:
    """What `result.json` of a search holds: the sizes tried, in their order; `error` says why there are none, or no more."""

    batch_size: int | None = None
    current_batch_size: int | None = None
    is_limit_reached: bool = False
    tries: tuple[BatchTry, ...] = ()
    error: str | None = None


def _failed(file: CureTrialFile, ended: Ended, last_words: str) -> CureReport:
    return CureReport(trial=file.trial, ending="failed", message=status_of(ended, last_words)[1])


def _not_searched(_: CureTrialFile, ended: Ended, last_words: str) -> MaxBatchReport:
    return MaxBatchReport(error=status_of(ended, last_words)[1])


_ROOM = "lrtool.diagnosis.cure_trials"
CURE_TRIAL = TrialKind(module=f"{_ROOM}.trial", given=CureTrialFile, report=CureReport, unreported=_failed)
MAX_BATCH_SEARCH = TrialKind(
    module=f"{_ROOM}.max_batch_trial", given=CureTrialFile, report=MaxBatchReport, unreported=_not_searched
)


def job_of(kind: TrialKind[CureTrialFile, Any], folder: Path, file: CureTrialFile) -> Job:
    """A trial to run, its files in `folder/trials/NNN`."""
    own = trial_dir(folder, file.trial.number)
    return kind.job(own, file, recorder=file.setup.recorder, settings=file.trial.settings)
