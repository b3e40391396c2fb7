"""A run condensed to what is compared between runs (as a file: a baseline), and what a check of it against limits found."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from lrtool.results.checks import Count, NonEmpty, Size, Spread, check_columns, check_date, check_index
from lrtool.results.mem_sweep import GrowthSource, PeakShare, Trial
from lrtool.results.metric import Metric, metrics_of

BASELINE_SCHEMA: Literal[1] = 1
Gated = Literal["mem-sweep", "replay", "range-test"]
"""The commands whose runs have figures that can be gated."""
METRICS = {
    metric.name: metric
    for metric in (
        *metrics_of(Trial).values(),
        Metric("peak_requested", "bytes", is_peak=True),
        Metric("out_of_memory", "count"),
        Metric("best_loss", "loss"),
        Metric("base_lr", "lr"),
        Metric("max_lr", "lr"),
        Metric("suggested_lr", "lr"),
    )
}
"""Every metric by its name: those of a trial, which a replay and a test have too, and what only others measure."""


def _check_metric(name: str) -> None:
    if name not in METRICS:
        raise ValueError(f"{name[:40]!r} is no metric")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A metric's figure, of repeats the worst one. `noise` is how far repeats lie apart, or how much less an estimate
    may be within its 95 % interval; None where neither is known. `high` is the upper end of a predicted peak, None where it
    is exact.
    """

    value: float
    noise: Spread | None = None
    high: Spread | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One condition of a run, its repeats together: figures by metric, and what they consist of.

    `trouble` says what kept it from ending well, "oom" that memory ran out and "failed" that anything else did.
    """

    condition: dict[str, str]
    status: Literal["ok", "oom", "failed"]
    trouble: str | None = None
    num_repeats: Size = 1
    figures: dict[str, Figure]
    peak_shares: tuple[PeakShare, ...] = ()
    growth_sources: tuple[GrowthSource, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """What a run measured, one case for each condition, and the facts without which its figures mean nothing.

    Written to a file it is a baseline, small enough to be committed.
    """

    kind: Literal["lrtool-baseline"] = "lrtool-baseline"
    schema: Literal[1] = BASELINE_SCHEMA
    command: Gated
    created: str
    lrtool: str
    facts: dict[str, str]
    cases: Annotated[tuple[Case, ...], NonEmpty]

    def __post_init__(self) -> None:
        check_date(self.created, name="created")


@dataclass(frozen=True, kw_only=True, slots=True)
class FactDifference:
    """What makes two runs not comparable: a fact, or a condition, that they do not share."""

    fact: str
    here: str
    baseline: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GateLine:
    """One limit held against the case that is worst for it. `margin` is how much was left; negative: how much too much.

    `verdict` is "unknown" where nothing was measured to hold against it. `bound` is the limit in the metric's own unit:
    of an increase, the baseline's figure and what it may grow by.
    """

    metric: str
    limit: str
    verdict: Literal["ok", "over", "unknown"]
    bound: float | None = None
    measured: float | None = None
    margin: float | None = None
    baseline: float | None = None
    noise: Spread | None = None
    case: str = ""
    reason: str | None = None

    def __post_init__(self) -> None:
        _check_metric(self.metric)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grown:
    """Something that uses more than in the baseline, or, without one, something that uses much: bytes at the peak, or
    bytes per step. `baseline_bytes` is None where there is no baseline.
    """

    what: Literal["peak", "step"]
    category: str | None
    module: str | None
    source: str | None
    line: str | None
    num_bytes: float
    baseline_bytes: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What `lrtool check` found: `passed` is None where nothing speaks against the run and not everything was measured."""

    passed: bool | None
    answer: str
    lines: tuple[GateLine, ...]
    grown: tuple[Grown, ...] = ()
    baseline: str | None = None
    differences: tuple[FactDifference, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRun:
    """One of the runs: its directory, when it was made, and the facts on which its figures depend."""

    name: str
    created: str
    facts: dict[str, str]

    def __post_init__(self) -> None:
        check_date(self.created, name="created")


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedFigure:
    """A metric under one condition in every run, None where a run has none; differences are from the first run.

    `noise` is the largest of the runs: how far repeats lie apart, or how wide an estimate's interval is downwards.
    """

    case: str
    metric: str
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    noise: Spread | None

    def __post_init__(self) -> None:
        _check_metric(self.metric)
        check_columns(self, "values", "differences")


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedCurve:
    """A curve of the run with index `run`: smoothed loss over LR, the step's peak in bytes over steps, or active bytes
    over requests.
    """

    case: str
    run: Count
    x: Annotated[tuple[float, ...], NonEmpty]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        check_columns(self, "x", "y")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Runs of one command, the first of which is the baseline. `not_comparable` names what they do not share."""

    compared: Gated
    answer: str
    runs: Annotated[tuple[ComparedRun, ...], NonEmpty]
    not_comparable: tuple[str, ...]
    figures: tuple[ComparedFigure, ...]
    curves: tuple[ComparedCurve, ...]

    def __post_init__(self) -> None:
        if any(len(figure.values) != len(self.runs) for figure in self.figures):
            raise ValueError(f"a figure has not a value for each of {len(self.runs)} runs")
        for curve in self.curves:
            check_index(curve.run, self.runs, name="run of a curve")
