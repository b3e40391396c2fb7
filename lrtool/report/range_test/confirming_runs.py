"""The confirming runs of a range test: their losses as a panel beside the curve, and as a table."""

from itertools import zip_longest

from matplotlib.axes import Axes

from lrtool.report.figures import BLUE, GREEN, GREY, VERMILLION
from lrtool.report.grid import Column, Grid, Row, numbers
from lrtool.results import Confirmation, ConfirmingRun
from lrtool.units import format_lr

LINE_COLORS = (GREY, BLUE, GREEN, VERMILLION)
AVERAGED_STEPS = 5
LABEL_LINES = 0.055
"""Least distance of two labels, as a part of the panel's height."""


def draw_runs(axes: Axes, confirmation: Confirmation) -> None:
    """Loss over step of every run, the dropped ones thin, each named by its LR at its end; the best one is thick."""
    axes.set_title("confirming runs", loc="left", fontsize=10)
    axes.set_xlabel("step")
    axes.spines[["top", "right"]].set_visible(False)
    longest = max((len(run.loss) for run in confirmation.runs), default=1)
    lrs = sorted({run.max_lr for run in confirmation.runs})
    axes.set_xlim(0, 1.42 * longest)
    axes.set_ylim(*_limits(confirmation))
    for run in confirmation.runs:
        is_last = len(run.loss) == longest
        width = 2.6 if run == confirmation.winner else 1.4 if is_last else 0.7
        line = _averaged(run.loss)
        axes.plot(range(1, len(line) + 1), line, color=_color(run, lrs), linewidth=width, alpha=1.0 if is_last else 0.6)
    _label_ends(axes, [run for run in confirmation.runs if len(run.loss) == longest], lrs)


def _color(run: ConfirmingRun, lrs: list[float]) -> str:
    return LINE_COLORS[lrs.index(run.max_lr) % len(LINE_COLORS)]


def _averaged(losses: tuple[float, ...]) -> list[float]:
    """The mean of the last AVERAGED_STEPS losses at each step: enough to tell lines apart."""
    windows = (losses[max(0, i - AVERAGED_STEPS + 1) : i + 1] for i in range(len(losses)))
    return [sum(window) / len(window) for window in windows]


def _limits(confirmation: Confirmation) -> tuple[float, float]:
    """From the lowest loss to a little above the first ones: what explodes leaves the panel."""
    lines = [_averaged(run.loss) for run in confirmation.runs if run.loss]
    if not lines:
        return 0.0, 1.0
    low, first = min(min(line) for line in lines), max(line[0] for line in lines)
    span = (first - low) or abs(first) or 1.0
    return low - 0.08 * span, first + 0.15 * span


def _label_ends(axes: Axes, runs: list[ConfirmingRun], lrs: list[float]) -> None:
    """Labels at the lines' ends, from low to high, pushed apart where they would meet."""
    low, high = axes.get_ylim()
    last = float("-inf")
    ends = sorted(((min(_averaged(run.loss)[-1], high), run) for run in runs if run.loss), key=lambda end: end[0])
    for end, run in ends:
        last = max(end, last + LABEL_LINES * (high - low))
        name = f"{'one cycle to ' if run.schedule == 'one-cycle' else ''}{format_lr(run.max_lr)}"
        axes.annotate(
            name, (len(run.loss), last), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
            color=_color(run, lrs) if run.final_loss is not None else GREY,
        )  # fmt: skip


def runs_table(confirmation: Confirmation) -> Grid:
    """Every run: its LR, its length, the loss it is judged by, and what became of it."""
    judged_by = "last training losses" if confirmation.judged_by == "train" else "validation loss"
    first, last = Column(heading="confirming run", wraps="between words"), Column(wraps="between words")
    longest = max((len(run.loss) for run in confirmation.runs), default=0)
    rows = []
    for run, following in zip_longest(confirmation.runs, confirmation.runs[1:]):
        loss = "-" if run.final_loss is None else f"{run.final_loss:.4g}"
        ends = following is not None and following.max_lr < run.max_lr and len(following.loss) > len(run.loss)
        outcome = _outcome(run, confirmation, longest)
        cells = (run.schedule, format_lr(run.max_lr), str(len(run.loss)), loss, outcome)
        rows.append(Row(cells=cells, ends_section=ends))
    return Grid(columns=(first, *numbers("LR", "steps", judged_by), last), rows=tuple(rows))


def _outcome(run: ConfirmingRun, confirmation: Confirmation, longest: int) -> str:
    if run.final_loss is None:
        return "diverged"
    if run == confirmation.winner:
        return "best"
    goes_on = any(other.max_lr == run.max_lr and len(other.loss) > len(run.loss) for other in confirmation.runs)
    return "" if goes_on or len(run.loss) == longest else "dropped"
