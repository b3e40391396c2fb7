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
from lrtool.results import FEWEST_SIZES, BatchScaling, BatchSizeTest, PowerLaw, unsupported_sizes
from lrtool.units import format_lr

RULES_OF_THUMB = {"linear scaling": 1.0, "square-root scaling": 0.5}
"""Goyal et al. 2017 (arXiv:1706.02677); Krizhevsky 2014 (arXiv:1404.5997)."""


def scaling_sentence(scaling: BatchScaling) -> str:
    """How max_lr scales, with the exponent's interval and what that says of the rules of thumb; else why no law follows."""
    sizes = list(_by_size(scaling.tests))
    missing = unsupported_sizes(_max_lrs(scaling))
    if missing:
        return f"{_enumerated(missing)} {'has' if len(missing) == 1 else 'have'} no suggestion: no law follows."
    if len(sizes) < FEWEST_SIZES:
        return _ratio(scaling, sizes)
    law = shown_law(scaling)
    if law is None:
        return "How max_lr scales is not known: the sizes are too close to each other."
    return (
        f"max_lr goes as batch size ^ {law.exponent:.2f} (95 %: {law.low:.2f} to {law.high:.2f}; "
        f"{law.num_points} tests); {_of_the_rules(law.low or 0.0, law.high or 0.0)}."
    )


def shown_law(scaling: BatchScaling) -> PowerLaw | None:
    """The law of max_lr; None where the tests bear none, also where a run of an older lrtool has one."""
    law, points = scaling.max_lr, _max_lrs(scaling)
    if law is None or law.low is None or law.high is None or unsupported_sizes(points):
        return None
    return law if len({size for size, _ in points}) >= FEWEST_SIZES else None


def _ratio(scaling: BatchScaling, sizes: Sequence[int]) -> str:
    if len(sizes) < 2:
        return "Fewer than two batch sizes were measured: no law follows."
    small, large = (
        statistics.geometric_mean([lr for each, lr in _max_lrs(scaling) if each == size and lr is not None])
        for size in sizes
    )
    return f"max_lr at batch size {sizes[1]} is {large / small:.3g} times that at {sizes[0]}; two sizes make no law."


def _max_lrs(scaling: BatchScaling) -> list[tuple[int, float | None]]:
    return [(test.batch_size, test.max_lr) for test in scaling.tests]


def _enumerated(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"Batch size {sizes[0]}"
    return f"Batch sizes {', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"


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
    law = shown_law(scaling)
    if law is not None:
        _draw_laws(axes, law, sizes)
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
    return f"{head}{semicolon.strip()}\n{rest}" if head else sentence
