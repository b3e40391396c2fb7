"""What a cure's process is given and what comes of it, also where it died before it could say anything."""

from dataclasses import dataclass
from typing import Any, Literal

from lrtool.results import Recorder
from lrtool.results.trial_dir import RESULT_FILE, last_words, read_json
from lrtool.sweep.executors.executor import Ended

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


@dataclass(frozen=True, kw_only=True, slots=True)
class CureTrial:
    """One trial: the names of the `cures` it gets, none for the baseline, and the allocator's settings.

    `replays_settings` asks for the same stream under other settings too, `asks_for` which of these cures cannot help here,
    and `batch_size` for batches of that many samples; where losses are not wanted, a prediction computes nothing really.
    """

    number: int
    cures: tuple[str, ...] = ()
    settings: str = ""
    replays_settings: bool = False
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


def report_of(ended: Ended, trial: CureTrial) -> CureReport:
    """What the trial's process wrote, or what its end says where it could not write any more. Raises UsageError."""
    file = ended.folder / RESULT_FILE
    if file.is_file():
        return read_json(file, CureReport)
    return CureReport(trial=trial, ending="failed", message=_how_it_ended(ended))


def _how_it_ended(ended: Ended) -> str:
    if ended.timed_out:
        return "it took longer than it may"
    if ended.signal is not None:
        return f"its process was killed by {ended.signal}"
    last = last_words(ended.folder)
    return f"its process ended with exit code {ended.exit_code}{f': {last}' if last else ''}"
