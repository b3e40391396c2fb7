"""What the process behind a diagnosis is given, and what comes of it."""

from dataclasses import dataclass
from typing import Any

from lrtool.diagnosis.run_figures import RunFigures
from lrtool.errors import UnavailableError, WorkloadError
from lrtool.results import Ranks, Recorder
from lrtool.results.stored.trial_dir import LOG_FILE
from lrtool.sweep.executors.executor import Ended, status_of
from lrtool.sweep.executors.trial_kind import TrialKind


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisSetup:
    """What is diagnosed: `settings` are the allocator's, `num_steps` the length of the run that is judged."""

    target: str
    params: dict[str, Any]
    recorder: Recorder
    device: str
    gpu: str
    capacity_bytes: int | None
    seed: int
    num_steps: int
    settings: str
    gpus: int = 1
    evaluate: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisReport:
    """What `result.json` holds: the figures, or what the user's code raised; of several `ranks` those that tell most."""

    figures: RunFigures | None = None
    message: str | None = None
    hint: str | None = None
    trace: str | None = None
    exit_code: int = 0
    ranks: Ranks | None = None


def _unreported(_: DiagnosisSetup, ended: Ended, last_words: str) -> DiagnosisReport:
    status, message = status_of(ended, last_words)
    if status == "timeout":
        hint = "allow more with --timeout, or fewer --steps"
        return DiagnosisReport(message=message, hint=hint, exit_code=UnavailableError.exit_code)
    hint = f"see {ended.folder / LOG_FILE}"
    return DiagnosisReport(message=message, hint=hint, exit_code=WorkloadError.exit_code)


DIAGNOSIS = TrialKind(
    module="lrtool.diagnosis.trial", given=DiagnosisSetup, report=DiagnosisReport, unreported=_unreported
)
