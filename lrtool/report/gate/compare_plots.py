"""The plot of a comparison: the curves of all runs over each other, a panel for each condition."""

import textwrap
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lrtool.gate.limits import format_value
from lrtool.report.figures import BLUE, GREEN, GREY, VERMILLION
from lrtool.results import ComparedCurve, Comparison

GIB, MIB = 2**30, 2**20
MAX_PANELS = 6
TITLE_WIDTH = 96
_Dashes = Literal["-"] | tuple[int, tuple[float, ...]]
LOOKS: tuple[tuple[str, _Dashes], ...] = (
    (BLUE, "-"), (VERMILLION, (0, (5, 2))), (GREEN, (0, (1, 1.5))), (GREY, (0, (6, 2, 1, 2))),
    ("black", (0, (2, 3))), (BLUE, (0, (8, 4))), (VERMILLION, (0, (1, 3))), (GREEN, (0, (8, 2, 1, 2, 1, 2))),
)  # fmt: skip
"""Colour and dashes of each run: of lines that lie on each other, all can be seen."""
AXES = {
    "range-test": ("learning rate (log scale)", "smoothed training loss"),
    "mem-sweep": ("step", "peak allocated within the step"),
    "replay": ("allocator requests", "active memory"),
}


def draw_comparison(result: Comparison) -> Figure:
    """Smoothed loss over LR, or memory over steps or requests, one line for each run."""
    cases = list(dict.fromkeys(curve.case for curve in result.curves))
    drawn = cases[:MAX_PANELS]
    figure = Figure(figsize=(8, 2.2 + 2.8 * max(1, len(drawn))), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(max(1, len(drawn)), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    is_memory = result.compared != "range-test"
    unit, name = _unit(result.curves) if is_memory else (1, "")
    for axes, case in zip(panels, drawn, strict=False):
        _draw_case(axes, [curve for curve in result.curves if curve.case == case], unit)
        axes.set_title(case, loc="left", fontsize=10)
    x_label, y_label = AXES[result.compared]
    for axes in panels:
        axes.set_ylabel(f"{y_label}{f' ({name})' if name else ''}", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel(x_label)
    if is_memory:
        panels[0].set_ylim(0, 1.15 * max((max(curve.y) for curve in result.curves), default=1) / unit)
    elif result.curves:
        panels[0].set_xscale("log")
        panels[0].set_ylim(*_loss_limits(result.curves))
    for axes, case in zip(panels, drawn, strict=False):
        _label_ends(axes, [curve for curve in result.curves if curve.case == case], unit)
    _key(figure, result)
    left_out = f" ({len(drawn)} of {len(cases)} conditions drawn)" if len(drawn) < len(cases) else ""
    figure.suptitle(_title(result) + left_out, x=0.01, ha="left", fontsize=11)
    return figure


def _draw_case(axes: Axes, curves: Sequence[ComparedCurve], unit: int) -> None:
    """The first run as a broad band, so that the others can be seen on it."""
    for curve in curves:
        color, dashes = LOOKS[curve.run % len(LOOKS)]
        width, alpha = (5.0, 0.4) if curve.run == 0 else (1.8, 1.0)
        y = [value / unit for value in curve.y]
        axes.plot(curve.x, y, color=color, linestyle=dashes, linewidth=width, alpha=alpha, solid_capstyle="butt")


def _label_ends(axes: Axes, curves: Sequence[ComparedCurve], unit: int) -> None:
    """Each line's number at its end; lines that end in one place share a label."""
    ends: dict[tuple[int, int], list[ComparedCurve]] = {}
    for curve in curves:
        end = axes.transLimits.transform(axes.transScale.transform((curve.x[-1], curve.y[-1] / unit)))
        ends.setdefault((round(end[0] * 30), round(end[1] * 20)), []).append(curve)
    for together in ends.values():
        last = together[0]
        axes.annotate(
            ", ".join(str(curve.run + 1) for curve in together), (last.x[-1], last.y[-1] / unit), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=9, fontweight="bold",
            color=LOOKS[last.run % len(LOOKS)][0], annotation_clip=True,
        )  # fmt: skip


def _key(figure: Figure, result: Comparison) -> None:
    """Below the panels: lines that lie on each other have no place for labels of their own."""
    handles = [
        Line2D([], [], color=color, linestyle=dashes, linewidth=1.8 if index else 5, alpha=1 if index else 0.4)
        for index, (color, dashes) in ((index, LOOKS[index % len(LOOKS)]) for index in range(len(result.runs)))
    ]
    labels = [f"{number}: {run.name}{_main_figure(result, number - 1)}" for number, run in enumerate(result.runs, 1)]
    figure.legend(handles, labels, loc="outside lower left", frameon=False, fontsize=9, handlelength=4)


def _main_figure(result: Comparison, index: int) -> str:
    """The figure that the answer is about, of the condition where it is largest."""
    main = [figure for figure in result.figures if figure.metric == result.figures[0].metric]
    values = [value for figure in main if (value := figure.values[index]) is not None]
    return f", {main[0].metric} {format_value(main[0].metric, max(values))}" if values else ""


def _title(result: Comparison) -> str:
    return textwrap.fill(result.answer.removesuffix("."), width=TITLE_WIDTH, break_on_hyphens=False)


def _loss_limits(curves: Sequence[ComparedCurve]) -> tuple[float, float]:
    """The descents with some air; explosions are cut off above."""
    low = min(min(curve.y) for curve in curves)
    top = max(max(curve.y[: curve.y.index(min(curve.y)) + 1]) for curve in curves)
    span = (top - low) or abs(top) or 1.0
    return low - 0.1 * span, top + 0.25 * span


def _unit(curves: Sequence[ComparedCurve]) -> tuple[int, str]:
    return (GIB, "GiB") if max((max(curve.y) for curve in curves), default=0) >= GIB else (MIB, "MiB")
