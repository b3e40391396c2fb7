"""What each parameter group did when it was ramped alone: a line for the facts, and small multiples of the curves."""

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrtool.report.figures import BLUE, GREEN, GREY
from lrtool.results import GroupRange, GroupTest, RangeTest
from lrtool.units import format_lr

MAX_PANELS = 12


def groups_text(result: RangeTest) -> str:
    """How the groups' ratios came about, and which of them are not measured."""
    pairs = enumerate(zip(result.group_tests, result.param_groups, strict=True))
    silent = [(str(number), group.max_lr is not None) for number, (test, group) in pairs if test.half_descent is None]
    given, out = ([number for number, has_lr in silent if has_lr is kept] for kept in (True, False))
    kept = f"; alone, {_named(given)} no descent and keeps the ratio it was given" if given else ""
    kept += f"; {_named(out)} no descent and keeps out of the last ramp, for want of gradients" if out else ""
    return (
        "each ramped alone first, the others held at LR 0; the LRs at which half of each descent is done give the ratios "
        f"of the last ramp, of all together{kept}"
    )


def draw_groups(result: RangeTest) -> Figure:
    """The curve of each group alone, on one LR axis, with the range found for it when all were ramped together."""
    shown = list(enumerate(zip(result.group_tests, result.param_groups, strict=True)))[:MAX_PANELS]
    figure = Figure(figsize=(8, 1.2 + 1.7 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (number, (test, found)) in zip(panels, shown, strict=True):
        _draw_group(axes, number, test, found)
    panels[-1].set_xlabel("learning rate of the group (log scale)")
    left_out = len(result.group_tests) - len(shown)
    rest = f" ({left_out} more groups are not drawn)" if left_out else ""
    title = "Each parameter group ramped alone; shaded: its range in the ramp of all together"
    figure.suptitle(f"{title}{rest}", x=0.01, ha="left", fontsize=11)
    return figure


def _draw_group(axes: Axes, number: int, test: GroupTest, found: GroupRange) -> None:
    curve = test.curve
    lowest, highest = min(curve.smoothed_loss), max(curve.smoothed_loss[: max(3, len(curve.lr) // 2)])
    air = 0.25 * ((highest - lowest) or abs(highest) or 1.0)
    axes.set_xscale("log")
    axes.set_ylim(lowest - air, highest + 2 * air)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("training loss", fontsize=8)
    axes.plot(curve.lr, curve.loss, color=GREY, linewidth=0.8, alpha=0.8)
    axes.plot(curve.lr, curve.smoothed_loss, color=BLUE, linewidth=2)
    if found.base_lr is not None and found.max_lr is not None:
        axes.axvspan(found.base_lr, found.max_lr, color=GREEN, alpha=0.12, linewidth=0)
    if test.half_descent is not None:
        axes.axvline(test.half_descent, color=GREEN, linewidth=1, linestyle=":")
    axes.annotate(
        _panel_text(number, test, found), (0.01, 0.97), xycoords="axes fraction", va="top", fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
    )  # fmt: skip


def _panel_text(number: int, test: GroupTest, found: GroupRange) -> str:
    half = "no descent alone" if test.half_descent is None else f"half of its descent at {format_lr(test.half_descent)}"
    together = ""
    if found.base_lr is not None and found.max_lr is not None:
        together = f"; together {format_lr(found.base_lr)} to {format_lr(found.max_lr)}"
    return f"group {number} ({test.num_parameters:,} parameters): {half}{together}"


def _named(numbers: list[str]) -> str:
    return f"group {numbers[0]} shows" if len(numbers) == 1 else f"groups {', '.join(numbers)} show"
