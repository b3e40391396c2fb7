"""What `lrtool compare` found: the figures of runs beside each other, and their curves."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRun:
    """One of the runs: its directory, when it was made, and the facts on which its figures depend."""

    name: str
    created: str
    facts: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedFigure:
    """A metric under one condition in every run, None where a run has none; differences are from the first run.

    `noise` is the largest of the runs: how far repeats lie apart, or how wide an estimate's interval is downwards.
    """

    case: str
    metric: str
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    noise: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedCurve:
    """A curve of the run with index `run`: smoothed loss over LR, the step's peak in bytes over steps, or active bytes
    over requests.
    """

    case: str
    run: int
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Runs of one command, the first of which is the baseline. `not_comparable` names what they do not share."""

    compared: str
    answer: str
    runs: tuple[ComparedRun, ...]
    not_comparable: tuple[str, ...]
    figures: tuple[ComparedFigure, ...]
    curves: tuple[ComparedCurve, ...]
