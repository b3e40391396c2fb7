"""What was found for each of several optimizers, ramped in turn: a sentence, a table, the code, and small multiples."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import RenderableType
from rich.text import Text

from lrtool.report.figures import BLUE, GREEN, GREY
from lrtool.report.grid import Column, Facts, Grid, Row, labelled, numbers
from lrtool.report.parts import known_lr
from lrtool.results import OptimizerTest, RangeTest
from lrtool.units import format_lr

MAX_PANELS = 12


def optimizers_sentence(result: RangeTest) -> str:
    """The answer for all of them."""
    found = [
        f"{test.name} between {format_lr(test.base_lr)} and {format_lr(test.max_lr)} (confidence: {test.confidence})"
        for test in result.optimizer_tests
        if test.base_lr is not None and test.max_lr is not None
    ]
    silent = [test.name for test in result.optimizer_tests if test.max_lr is None]
    if not found:
        return f"No suggestion for {' nor for '.join(silent)}."
    rest = f"; no suggestion for {' nor for '.join(silent)}" if silent else ""
    return f"Cycle the learning rate of {', and of '.join(found)}{rest}."


def optimizers_table(result: RangeTest) -> Grid:
    """A row for each parameter group of each optimizer."""
    first = Column(heading="optimizer", wraps="between words")
    rows = [
        Row(cells=(_row_name(test, number), *map(known_lr, (group.base_lr, group.max_lr, group.suggested_lr))))
        for test in result.optimizer_tests
        for number, group in enumerate(test.param_groups)
    ]
    return Grid(columns=(first, *numbers("base_lr", "max_lr", "suggested_lr (constant)")), rows=tuple(rows))


def optimizers_facts(result: RangeTest) -> Facts:
    """Why, for each of them, and under which condition."""
    reasons = [
        (test.name, test.reason if test.advice is None else f"{test.reason}; try: {test.advice}")
        for test in result.optimizer_tests
    ]
    return labelled([*reasons, ("in turn", "each was ramped while the others kept the LRs that build() gave them")])


def optimizers_code(result: RangeTest) -> Iterator[RenderableType]:
    """What to paste for each that has a suggestion."""
    for test in result.optimizer_tests:
        yield from (Text(line, style="green") for line in test.snippet)


def draw_optimizers(result: RangeTest) -> Figure:
    """The curve of each optimizer, on one LR axis, with the range found for it."""
    shown = result.optimizer_tests[:MAX_PANELS]
    figure = Figure(figsize=(8, 1.2 + 1.9 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, test in zip(panels, shown, strict=True):
        _draw(axes, test)
    panels[-1].set_xlabel("learning rate of the optimizer (log scale)")
    figure.suptitle(
        "Each optimizer ramped in turn, the others at their own LR; shaded: its range", x=0.01, ha="left", fontsize=11
    )
    return figure


def _draw(axes: Axes, test: OptimizerTest) -> None:
    curve = test.curve
    lowest, highest = min(curve.smoothed_loss), max(curve.smoothed_loss[: max(3, len(curve.lr) // 2)])
    air = 0.25 * ((highest - lowest) or abs(highest) or 1.0)
    axes.set_xscale("log")
    axes.set_ylim(lowest - air, highest + 2 * air)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("its loss", fontsize=8)
    axes.plot(curve.lr, curve.loss, color=GREY, linewidth=0.8, alpha=0.8)
    axes.plot(curve.lr, curve.smoothed_loss, color=BLUE, linewidth=2)
    found = "no suggestion"
    if test.base_lr is not None and test.max_lr is not None:
        axes.axvspan(test.base_lr, test.max_lr, color=GREEN, alpha=0.12, linewidth=0)
        found = f"{format_lr(test.base_lr)} to {format_lr(test.max_lr)} (confidence: {test.confidence})"
    axes.set_title(f"{test.name} ({test.optimizer}): {found}", loc="left", fontsize=10)


def _row_name(test: OptimizerTest, number: int) -> str:
    return test.name if len(test.param_groups) == 1 else f"{test.name}, group {number}"
