"""Collects a StepSeries step by step, in columns of machine integers: 7,000 steps take less than half a MiB."""

from array import array
from dataclasses import fields

from lrtool.results import StepSeries

COLUMNS = tuple(field.name for field in fields(StepSeries))


class StepColumns:
    """One row of figures for each step that has ended."""

    def __init__(self) -> None:
        self._columns = {name: array("q") for name in COLUMNS}

    def __len__(self) -> int:
        return len(self._columns[COLUMNS[0]])

    def append(self, **figures: int) -> None:
        """The figures of one step, by their names in StepSeries."""
        for name, column in self._columns.items():
            column.append(figures[name])

    def series(self) -> StepSeries:
        return StepSeries(**{name: tuple(column) for name, column in self._columns.items()})
