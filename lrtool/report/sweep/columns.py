"""The metrics that a table of trials shows: which ones the glossary says, their units the fields of `Trial`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lrtool.report.glossary import GLOSSARY, Column
from lrtool.report.parts import known_bytes, percent
from lrtool.results import StepGrowth, Trial, Unit, metrics_of
from lrtool.units import format_bytes, three_digits


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricColumn:
    """A column by its term in the glossary and its field in `Trial`."""

    term: str
    field: str
    unit: Unit
    shown: Column

    @property
    def width(self) -> int:
        return 6 if self.unit == "ratio" else 9

    def text(self, trial: Trial) -> str:
        return _TEXTS[self.unit](getattr(trial, self.field))


COLUMNS = tuple(
    MetricColumn(term=name, field=field, unit=metric.unit, shown=term.column)
    for name, term in GLOSSARY.items()
    for field, metric in metrics_of(Trial).items()
    if term.column is not None and field in term.fields
)


def columns_of(trials: Sequence[Trial]) -> list[MetricColumn]:
    """The columns of a table of these trials; an optional one where some trial knows the figure."""
    return [
        column
        for column in COLUMNS
        if not column.shown.is_optional or any(getattr(trial, column.field) is not None for trial in trials)
    ]


def growth_text(growth: StepGrowth | None) -> str:
    """Bytes per step; 0 B where the interval holds zero, "-" where it is not known."""
    if growth is None:
        return "-"
    if growth.low_bytes_per_step <= 0 <= growth.high_bytes_per_step:
        return "0 B"
    rate = growth.bytes_per_step
    return f"{three_digits(rate)} B" if abs(rate) < 1 else format_bytes(round(rate))


def _plain(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:,.4g}"


_TEXTS: dict[Unit, Callable[[Any], str]] = {
    "bytes": known_bytes, "bytes per step": growth_text, "ratio": percent, "count": _plain, "lr": _plain, "loss": _plain,
}  # fmt: skip
