"""How the LR scales with the batch size: a sentence, a table, and a plot whose axes are both logarithmic."""

import math
import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from lrtool.report.figures import BLUE, GREY
from lrtool.report.grid import Grid, Row, numbers
from lrtool.results import BatchScaling, BatchSizeTest, PowerLaw
from lrtool.units import format_lr

RULES_OF_THUMB = {"linear scaling": 1.0, "square-root scaling": 0.5}
"""Goyal et al. 2017 (arXiv:1706.02677); Krizhevsky 2014 (arXiv:1404.5997)."""


def scaling_sentence(scaling: BatchScaling) -> str:
    """How max_lr scales, with the exponent's interval and what that says of the rules of thumb."""
    law = scaling.max_lr
    if law is None:
        return "How the LR scales is not known: too few batch sizes have a suggestion."
    if law.low is None or law.high is None:
        return f"max_lr goes as batch size ^ {law.exponent:.2f}, from {law.num_points} tests: too few for an interval."
    return (
        f"max_lr goes as batch size ^ {law.exponent:.2f} (95 %: {law.low:.2f} to {law.high:.2f}; "
        f"{law.num_points} tests); {_of_the_rules(law.low, law.high)}."
    )


def draw_scaling(scaling: BatchScaling) -> Figure:
    """max_lr over batch size: every test, the geometric mean of each size, the law, and the rules of thumb through it."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("batch size (samples a step, log scale)")
    axes.set_ylabel("max_lr (log scale)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_wrapped(scaling_sentence(scaling)), loc="left", fontsize=11)
    by_size = _by_size(scaling.tests)
    sizes = list(by_size)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * max(1.6, (sizes[-1] / sizes[0]) ** 0.35))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda lr, position: format_lr(lr))
    for size, tests in by_size.items():
        found = [test.max_lr for test in tests if test.max_lr is not None]
        axes.plot([size] * len(found), found, "o", markersize=4, color=GREY, alpha=0.7)
        if found:
            axes.plot(
                [size], [statistics.geometric_mean(found)], "s", markersize=8, color=BLUE, markeredgecolor="white"
            )
    if scaling.max_lr is not None:
        _draw_laws(axes, scaling.max_lr, sizes)
    return figure


def _draw_laws(axes: Axes, law: PowerLaw, sizes: Sequence[int]) -> None:
    """The fitted law, and the rules of thumb through its middle."""
    first, last = sizes[0], sizes[-1]
    middle = math.sqrt(first * last)
    exponents = {f"measured: {law.exponent:.2f}": law.exponent, **RULES_OF_THUMB}
    ends = {}
    for name, exponent in exponents.items():
        is_law = name.startswith("measured")
        lrs = [law.factor * middle**law.exponent * (size / middle) ** exponent for size in (first, last)]
        axes.plot(
            (first, last), lrs, color=BLUE if is_law else GREY, linewidth=2.4 if is_law else 1,
            linestyle="-" if is_law else "--", zorder=1,
        )  # fmt: skip
        ends[name] = lrs[1]
    for row, (name, lr) in enumerate(sorted(ends.items(), key=lambda item: item[1])):
        axes.annotate(
            name, (last, lr), xytext=(10, 14 * (row - 1)), textcoords="offset points", va="center", fontsize=9,
            color=BLUE if name.startswith("measured") else GREY,
        )  # fmt: skip


def scaling_table(scaling: BatchScaling) -> Grid:
    """A row for each batch size: the geometric mean over its seeds, and the lowest and highest max_lr."""
    columns = tuple(numbers("batch size", "base_lr", "max_lr", "lowest", "highest", "suggested_lr"))
    return Grid(columns=columns, rows=tuple(_size_row(size, tests) for size, tests in _by_size(scaling.tests).items()))


def _size_row(size: int, tests: Sequence[BatchSizeTest]) -> Row:
    highs = [test.max_lr for test in tests if test.max_lr is not None]
    lowest, highest = (format_lr(min(highs)), format_lr(max(highs))) if highs else ("-", "-")
    base, suggested = (_mean([getattr(test, name) for test in tests]) for name in ("base_lr", "suggested_lr"))
    return Row(cells=(str(size), base, _mean(highs), lowest, highest, suggested))


def _mean(lrs: Sequence[float | None]) -> str:
    found = [lr for lr in lrs if lr is not None]
    return format_lr(statistics.geometric_mean(found)) if found else "-"


def _by_size(tests: Sequence[BatchSizeTest]) -> dict[int, list[BatchSizeTest]]:
    sizes = sorted({test.batch_size for test in tests})
    return {size: [test for test in tests if test.batch_size == size] for size in sizes}


def _of_the_rules(low: float, high: float) -> str:
    """Which rules of thumb the interval of the exponent leaves standing."""
    inside = [name for name, exponent in RULES_OF_THUMB.items() if low <= exponent <= high]
    outside = [name for name in RULES_OF_THUMB if name not in inside]
    if not outside:
        return "too uncertain to tell linear from square-root scaling: more --repeats or sizes further apart"
    if inside:
        return f"{inside[0]} agrees with it, {outside[0]} does not"
    constant = "it hardly depends on the batch size, and " if low <= 0 <= high else ""
    return f"{constant}neither linear nor square-root scaling agrees with it"


def _wrapped(sentence: str) -> str:
    head, semicolon, rest = sentence.rpartition("; ")
    return f"{head}{semicolon.strip()}\n{rest}"
