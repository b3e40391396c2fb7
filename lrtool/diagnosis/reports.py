"""What the process behind a diagnosis is given, and what comes of it."""

from dataclasses import dataclass
from typing import Any

from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import Ranks, Recorder


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


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisReport:
    """What `result.json` holds: the figures, or what the user's code raised; of several `ranks` those that tell most."""

    figures: RunFigures | None = None
    message: str | None = None
    hint: str | None = None
    trace: str | None = None
    exit_code: int = 0
    ranks: Ranks | None = None
