"""A plot of the LR over the steps of each trial, as the optimizer had it: a line for each parameter group."""

from collections.abc import Mapping
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrtool.report.figures import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION
from lrtool.report.sweep.tables import groups_of, step_size_name
from lrtool.results import MemSweep, Trial
from lrtool.results.stored.trial_dir import Lrs
from lrtool.units import count_of, format_lr

MAX_PANELS = 12
MOST_APART = 5
"""Panels share an LR axis where the highest LRs are at most so many times each other."""
MAX_POINTS = 4000
"""As many steps are drawn; more lie closer than the dots of a screen."""
COLORS = (BLUE, VERMILLION, GREEN, ORANGE, SKY, GREY)
STYLES = ("-", "--", "-.", ":")


def draw_lrs(result: MemSweep, lrs: Mapping[int, Lrs]) -> Figure:
    """A panel for each trial, with the same axes unless that would press some of them flat; repeats of one condition have the
    same LRs, and are drawn once.
    """
    named = [(name, trial) for name, trials in groups_of(result.trials) for trial in trials if lrs.get(trial.number)]
    first = [(name, trial) for name, trial in named if trial.repeat == min(_repeats(named, trial))]
    drawn = first[:MAX_PANELS]
    columns = 1 if len(drawn) <= 4 else 2
    rows = max(1, -(-len(drawn) // columns))
    figure = Figure(figsize=(8 if columns == 1 else 11, 1.4 + 1.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False)
    num_steps = max((len(lrs[trial.number]) for _, trial in drawn), default=1)
    tops = [max(map(max, lrs[trial.number])) for _, trial in drawn]
    is_shared = min(tops, default=0.0) * MOST_APART >= max(tops, default=0.0)
    for axes, (name, trial), top in zip(panels.flat, drawn, tops, strict=False):
        axes.set_xlim(1, max(2, 1.12 * num_steps))
        axes.set_ylim(0, 1.15 * (max(tops) if is_shared else top) or 1.0)
        _draw_trial(axes, lrs[trial.number], title=fill(_title(trial, lrs[trial.number], name), 124 // columns))
    for axes in panels.flat[len(drawn) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("learning rate")
    for axes in panels.flat[max(0, len(drawn) - columns) : len(drawn)]:
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)
    figure.suptitle(_heading(result, lrs, len(drawn), len(first), is_shared=is_shared), x=0.01, ha="left", fontsize=11)
    return figure


def _heading(result: MemSweep, lrs: Mapping[int, Lrs], num_drawn: int, num_known: int, *, is_shared: bool) -> str:
    unknown = sum(not lrs.get(trial.number) for trial in result.trials)
    parts = ["The learning rate of each trial, step by step"]
    parts += [] if is_shared else ["axes of their own"]
    parts += [f"{num_drawn} of {num_known} drawn"] if num_drawn < num_known else []
    parts += [f"of {count_of(unknown, 'trial')} it is not known"] if unknown else []
    return "; ".join(parts)


def _repeats(named: list[tuple[str, Trial]], trial: Trial) -> list[int]:
    return [other.repeat for _, other in named if other.condition == trial.condition]


def _draw_trial(axes: Axes, lrs: Lrs, *, title: str) -> None:
    every = -(-len(lrs) // MAX_POINTS)
    steps = range(1, len(lrs) + 1, every)
    curves = list(dict.fromkeys(zip(*lrs[::every], strict=True)))  # groups of one LR have one line
    for number, curve in enumerate(curves):
        color, style = COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]
        axes.plot(steps, curve, color=color, linestyle=style, linewidth=1.4)
    groups: dict[tuple[float, ...], list[str]] = {}
    for number, curve in enumerate(zip(*lrs[::every], strict=True)):
        groups.setdefault(curve, []).append(str(number))
    if len(curves) > 1:
        _label(axes, lrs, groups)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=9)


def _label(axes: Axes, lrs: Lrs, groups: Mapping[tuple[float, ...], list[str]]) -> None:
    """The groups' numbers at the right end, one below the other where their lines end close to each other."""
    room, below = 0.11 * axes.get_ylim()[1], float("inf")
    ends = [(curve[-1], number, names) for number, (curve, names) in enumerate(groups.items())]
    shown = sorted(ends, key=lambda end: (-end[0], end[1]))
    places = []
    for end, number, names in shown:
        below = min(end, below - room)
        places.append((below, number, names))
    lift = max(0.0, 0.06 * axes.get_ylim()[1] - places[-1][0])
    for place, number, names in places:
        text = f"group{'s'[: len(names) != 1]} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        axes.annotate(
            text, (len(lrs), place + lift), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
            color=COLORS[number % len(COLORS)],
        )  # fmt: skip


def _title(trial: Trial, lrs: Lrs, name: str) -> str:
    largest = [max(step) for step in lrs]
    size = (
        f"step size {step_size_name(trial.condition)}, " if trial.condition.schedule in ("cyclic", "onecycle") else ""
    )
    varied = f"{name}: " if name else ""
    known = f" (known for {count_of(len(lrs), 'step')})" if len(lrs) < trial.num_steps_done else ""
    return f"{varied}{size}LR {format_lr(min(largest))} to {format_lr(max(largest))}{known}"
