"""Landmarks and intervals in the plot of a range test: what a suggestion was read off, and how sure its place is."""

from matplotlib.axes import Axes

from lrtool.report.colors import GREEN, GREY, VERMILLION
from lrtool.results import Landmarks, RangeTest

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
