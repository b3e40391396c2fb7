"""The curve of a range test: raw and smoothed, its landmarks, the suggested range, and the part where it diverged."""

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrtool.report.figures import BLUE, GREEN, GREY, SKY, VERMILLION
from lrtool.report.range_test.confirming_runs import draw_runs
from lrtool.report.range_test.rule_picks import add_rule_ticks
from lrtool.results import Interval, Landmarks, RangeTest
from lrtool.units import format_lr

LEFT_PART = 0.4
LANDMARK_ROOM = 0.35
"""Air above the curve, as a part of the descent, for the landmarks' names."""
RUNS_INCHES = 4.0
MARKED = {
    "base_lr": ("base_lr", "^", 0.15),
    "suggested_lr": ("suggested_lr (constant)", "D", 0.09),
    "max_lr": ("max_lr", "s", 0.03),
}
"""What each LR is called, its marker, and the height of its label's row as a part of the plot's."""


def draw_curve(result: RangeTest) -> Figure:
    """Loss over learning rate: raw, smoothed, the band of the repeats, landmarks, the suggested range with its intervals,
    and where it diverged; confirming runs are a second panel.
    """
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    if result.confirmation is None:
        axes = figure.add_subplot()
    else:
        figure.set_size_inches(8 + RUNS_INCHES, 4.8)
        panels = figure.subfigures(1, 2, squeeze=False, width_ratios=[8, RUNS_INCHES])[0]
        axes = panels[0].add_subplot()
        draw_runs(panels[1].add_subplot(), result.confirmation)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate (log scale)")
    axes.set_ylabel("training loss")
    axes.set_title(_title(result), loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    low, high = _limits(result)
    axes.set_ylim(low, high)
    axes.set_xlim(result.curve.lr[0], max(result.curve.lr[-1], result.curve.lr[0] * 1.01))
    _lines(axes, result)
    _divergent_part(axes, result, high)
    _markers(axes, result)
    if result.landmarks is not None:
        draw_landmarks(axes, result.landmarks)
    if result.rules:
        add_rule_ticks(axes, result)
    return figure


def _title(result: RangeTest) -> str:
    if result.base_lr is None or result.max_lr is None:
        return f"No suggestion: {result.reason}"
    return (
        f"{result.target}: cycle between {format_lr(result.base_lr)} and {format_lr(result.max_lr)} "
        f"(confidence {result.confidence})"
    )


def _limits(result: RangeTest) -> tuple[float, float]:
    """The y range: the descent with some air; the explosion and single outliers are cut off."""
    smooth = result.curve.smoothed_loss
    lowest = smooth.index(min(smooth))
    head = sorted(result.curve.loss[: max(1, len(smooth) // 10)])
    top = max(*smooth[: lowest + 1], head[int(0.95 * (len(head) - 1))])
    bottom = min(smooth[lowest], sorted(result.curve.loss)[len(smooth) // 100])
    span = (top - bottom) or abs(top) or 1.0
    return bottom - 0.25 * span, top + LANDMARK_ROOM * span


def _lines(axes: Axes, result: RangeTest) -> None:
    curve = result.curve
    if result.band is not None:
        axes.fill_between(result.band.lr, result.band.low, result.band.high, color=SKY, alpha=0.35, linewidth=0)
    axes.plot(curve.lr, curve.loss, color=GREY, linewidth=0.8, alpha=0.8)
    axes.plot(curve.lr, curve.smoothed_loss, color=BLUE, linewidth=2.4)
    at = len(curve.lr) // 8
    text = (
        "smoothed (raw in grey)"
        if result.band is None
        else f"median of {len(result.repeats)} (band: lowest to highest)"
    )
    axes.annotate(
        text,
        (curve.lr[at], curve.smoothed_loss[at]),
        xytext=(0, 12),
        textcoords="offset points",
        color=BLUE,
        fontsize=9,
    )


def _divergent_part(axes: Axes, result: RangeTest, high: float) -> None:
    curve = result.curve
    if result.stopped not in ("diverged", "non-finite"):
        return
    lowest = curve.smoothed_loss.index(min(curve.smoothed_loss))
    above = [lr for lr, loss in zip(curve.lr[lowest:], curve.smoothed_loss[lowest:], strict=True) if loss > high]
    begin = above[0] if above else curve.lr[-1]
    end = axes.get_xlim()[1]
    if begin >= end:
        axes.set_xlim(curve.lr[0], end := begin * 2)
    axes.axvspan(begin, end, facecolor="none", edgecolor=VERMILLION, hatch="///", alpha=0.35, linewidth=0)
    axes.annotate(
        "diverged" if result.stopped == "diverged" else "not finite",
        (end, 0.99), xycoords=("data", "axes fraction"), xytext=(-4, 0), textcoords="offset points",
        ha="right", va="top", color=VERMILLION, fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _markers(axes: Axes, result: RangeTest) -> None:
    """Each LR as a marker of its own shape on the curve, and a line down to its label; labels stand on separate rows."""
    if result.base_lr is None or result.max_lr is None or result.suggested_lr is None:
        return
    axes.axvspan(result.base_lr, result.max_lr, color=GREEN, alpha=0.10, linewidth=0)
    low, high = axes.get_ylim()
    draw_intervals(axes, result, {key: low + row * (high - low) for key, (_, _, row) in MARKED.items()})
    for key, (name, marker, row) in MARKED.items():
        lr = getattr(result, key)
        loss, foot = _loss_at(result, lr), low + row * (high - low)
        axes.plot([lr, lr], [foot, loss], color=GREEN, linewidth=0.8, linestyle=":")
        axes.plot([lr], [loss], marker=marker, markersize=9, color=GREEN, markeredgecolor="white", zorder=5)
        interval = getattr(result, f"{key}_interval") or Interval(low=lr, high=lr)
        to_the_left = axes.transLimits.transform(axes.transScale.transform((lr, foot)))[0] > LEFT_PART
        axes.annotate(
            f"{name} {format_lr(lr)}",
            (interval.low if to_the_left else interval.high, foot),
            xytext=(-5 if to_the_left else 5, 0), textcoords="offset points", va="center",
            ha="right" if to_the_left else "left", color=GREEN, fontsize=9, fontweight="bold",
        )  # fmt: skip


def _loss_at(result: RangeTest, lr: float) -> float:
    nearest = min(range(len(result.curve.lr)), key=lambda i: abs(result.curve.lr[i] - lr))
    return result.curve.smoothed_loss[nearest]


LABEL_POINTS = 9.5
"""Least distance of two upright labels, in points of 1/72 inch."""
TICK_TOP, TICK_BOTTOM = 1.0, 0.965


def draw_landmarks(axes: Axes, marks: Landmarks) -> None:
    """A tick at the upper edge for each landmark, with its name upright below it, moved aside where two would meet."""
    named = [
        ("descent begins", marks.descent),
        ("half of it", marks.half_descent),
        ("minimum", marks.minimum),
        ("upturn", marks.upturn),
        ("half given back", marks.divergence),
        ("falls again", marks.second_descent),
    ]
    places = sorted((lr, name) for name, lr in named if lr is not None)
    width_points = axes.get_window_extent().width / axes.figure.get_dpi() * 72
    last = float("-inf")
    for lr, name in places:
        at = _x_part(axes, lr) * width_points
        last = max(at, last + LABEL_POINTS)
        _tick(axes, lr, name, shift=last - at)


def _tick(axes: Axes, lr: float, name: str, *, shift: float) -> None:
    color = VERMILLION if name in ("half given back", "falls again") else GREY
    transform = axes.get_xaxis_transform()
    axes.plot([lr, lr], [TICK_BOTTOM, TICK_TOP], transform=transform, color=color, linewidth=1.2)
    axes.annotate(
        name, (lr, TICK_BOTTOM), xycoords=transform, xytext=(shift, -3), textcoords="offset points",
        rotation=90, ha="center", va="top", fontsize=7, color=color,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75},
    )  # fmt: skip


def draw_intervals(axes: Axes, result: RangeTest, rows: dict[str, float]) -> None:
    """A bar on each LR's row (its height in data units, by name) as wide as the LR's interval."""
    intervals = {
        "base_lr": result.base_lr_interval,
        "max_lr": result.max_lr_interval,
        "suggested_lr": result.suggested_lr_interval,
    }
    for name, interval in intervals.items():
        if interval is not None:
            axes.plot(
                [interval.low, interval.high],
                [rows[name]] * 2,
                color=GREEN,
                linewidth=4,
                alpha=0.45,
                solid_capstyle="butt",
            )


def _x_part(axes: Axes, lr: float) -> float:
    """Where an LR stands on the axis, 0 at its left end and 1 at its right."""
    return float(axes.transLimits.transform(axes.transScale.transform((lr, 1.0)))[0])
