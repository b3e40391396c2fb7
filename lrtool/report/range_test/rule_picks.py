"""What other finders' rules said on the same curve: a table, and ticks on a strip below the plot of the curve."""

from matplotlib.axes import Axes

from lrtool.report.figures import BLUE, GREEN, GREY
from lrtool.report.grid import Column, Grid, Row, numbers
from lrtool.report.parts import known_lr
from lrtool.results import RangeTest, RulePick
from lrtool.units import format_lr, three_digits

ROW_INCHES = 0.2
LABEL_TURNS = 0.75
"""Right of this part of the width, a label stands on the left of its tick."""


def rules_table(result: RangeTest) -> Grid:
    """A row for each rule: its LR, and how many times lrtool's own suggestions it is; or why it has none."""
    rows = []
    for pick in result.rules:
        times = (_times(pick.lr, lr) for lr in (result.max_lr, result.suggested_lr))
        rows.append(Row(cells=(name_of(pick), known_lr(pick.lr), *times)))
        if pick.why_none is not None:
            rows.append(Row(cells=(f"  {pick.why_none}", "", "", "")))
    first = Column(heading="other rules, same curve", wraps="between words")
    return Grid(columns=(first, *numbers("LR", "/ max_lr", "/ suggested_lr")), rows=tuple(rows))


def name_of(pick: RulePick) -> str:
    """The finder with its version, and the rule."""
    return f"{pick.finder} {pick.version} {pick.rule}"


def add_rule_ticks(axes: Axes, result: RangeTest) -> None:
    """Put a strip below `axes`, alone on its figure or part of one: a tick and a label for each rule, a row each."""
    figure, part = axes.get_figure(root=True), axes.get_figure(root=False)
    assert figure is not None
    assert part is not None
    rows = len(result.rules)
    width, height = figure.get_size_inches()
    strip_inches = ROW_INCHES * (rows + 1.5)
    figure.set_size_inches(width, height + strip_inches)
    grid = part.add_gridspec(2, 1, height_ratios=[height, strip_inches])
    axes.set_subplotspec(grid[0])
    strip = part.add_subplot(grid[1])
    strip.set_xscale("log")
    strip.set_xlim(axes.get_xlim())
    strip.set_ylim(rows, -1)
    strip.set_axis_off()
    strip.text(0, 1, "other finders' rules on this curve", transform=strip.transAxes, color=GREY, fontsize=8, va="top")
    if result.base_lr is not None and result.max_lr is not None:
        strip.axvspan(result.base_lr, result.max_lr, color=GREEN, alpha=0.10, linewidth=0)
    for row, pick in enumerate(result.rules):
        _tick(strip, row, pick)


def _tick(strip: Axes, row: int, pick: RulePick) -> None:
    low, high = strip.get_xlim()
    text = f"{pick.finder} {pick.rule} {'none' if pick.lr is None else format_lr(pick.lr)}"
    lr = min(max(pick.lr or low, low), high)
    is_inside = lr == pick.lr
    part = strip.transLimits.transform(strip.transScale.transform((lr, 0)))[0]
    to_the_left = part > LABEL_TURNS
    if is_inside:
        strip.plot([lr], [row], marker="|", markersize=8, markeredgewidth=1.8, color=BLUE)
    elif pick.lr is not None:
        text = f"{text} {'>' if to_the_left else '<'}"
    strip.annotate(
        text, (lr, row), xytext=(-5 if to_the_left else 5, 0), textcoords="offset points",
        ha="right" if to_the_left else "left", va="center", fontsize=8, color=BLUE if is_inside else GREY,
    )  # fmt: skip


def _times(lr: float | None, ours: float | None) -> str:
    return "-" if lr is None or ours is None else f"{three_digits(lr / ours)}"
