"""A comparison in the terminal: the answer, the runs, a table for each condition, and why they may not be comparable."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from lrtool.gate.comparison import is_within_noise
from lrtool.gate.limits import format_value
from lrtool.report.grid import Column, Grid, Row, labelled, numbers
from lrtool.results import METRICS, ComparedFigure, Comparison

RUNS_BESIDE_EACH_OTHER = 5
"""As many fit into 80 columns; more stand in further tables, each with the first run again."""
MARKS = {True: "≈", False: "≠", None: ""}


def comparison_lines(result: Comparison) -> list[RenderableType]:
    """Everything but the closing line."""
    names = [(f"run {number}", f"{run.name}, {run.created}") for number, run in enumerate(result.runs, 1)]
    parts: list[RenderableType] = [Text(result.answer, style="bold"), "", labelled(names)]
    for case in dict.fromkeys(figure.case for figure in result.figures):
        figures = [figure for figure in result.figures if figure.case == case]
        for shown in _blocks(len(result.runs)):
            parts += ["", *([Text(case)] if case else []), figure_table(figures, shown)]
    remarks = [("differ", text) for text in result.not_comparable]
    marks = "≈ within the noise of repeats, ≠ beyond it; without a mark noise is not known"
    return [*parts, "", labelled([*remarks, ("noise", marks)])]


def figure_table(figures: Sequence[ComparedFigure], shown: Sequence[int]) -> Grid:
    """A row for each metric, a column for each run: its value, and below it how far that is from run 1's."""
    runs = numbers(*(f"run {index + 1}" for index in shown), min_width=9)
    columns = (Column(heading="metric"), *runs, *numbers("noise"))
    return Grid(columns=columns, rows=tuple(row for figure in figures for row in _figure_rows(figure, shown)), gap=1)


def _figure_rows(figure: ComparedFigure, shown: Sequence[int]) -> Iterator[Row]:
    noise = "-" if figure.noise is None else format_value(figure.metric, figure.noise)
    yield Row(cells=(figure.metric, *(_value(figure, index) for index in shown), noise))
    yield Row(cells=("  difference", *(difference_text(figure, index) for index in shown), ""), tone="minor")
    shares = [share_text(figure, index) for index in shown]
    if any(shares):
        yield Row(cells=("", *shares, ""), tone="minor")


def difference_text(figure: ComparedFigure, index: int) -> str:
    """How far a run is from the first, ratios in percentage points; marked as within the noise or beyond it."""
    difference = figure.differences[index]
    if index == 0 or difference is None:
        return "-"
    mark = MARKS[is_within_noise(figure, difference)] if difference else ""
    if METRICS[figure.metric].unit == "ratio":
        return f"{100 * difference:+.3g} pp {mark}".rstrip()
    sign = "+" if difference > 0 else ""
    return f"{sign}{format_value(figure.metric, difference)} {mark}".rstrip()


def share_text(figure: ComparedFigure, index: int) -> str:
    """The difference as a share of the first run's value."""
    difference, first = figure.differences[index], figure.values[0]
    is_ratio = METRICS[figure.metric].unit == "ratio"
    return "" if index == 0 or not difference or not first or is_ratio else f"{100 * difference / first:+.3g}%"


def _value(figure: ComparedFigure, index: int) -> str:
    value = figure.values[index]
    return "-" if value is None else format_value(figure.metric, value)


def _blocks(num_runs: int) -> list[list[int]]:
    others = list(range(1, num_runs))
    size = RUNS_BESIDE_EACH_OTHER - 1
    return [[0, *others[start : start + size]] for start in range(0, len(others), size)] or [[0]]
