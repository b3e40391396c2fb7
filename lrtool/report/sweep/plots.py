"""Plots of a sweep: memory over the steps of each trial with one y axis for all, and peaks and fragmentation by step size."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lrtool.report.figures import BLUE, GREEN, GREY, SKY, VERMILLION
from lrtool.report.parts import percent
from lrtool.report.sweep.columns import growth_text
from lrtool.report.sweep.tables import HOW_KNOWN, STATUS, groups_of, step_size_name
from lrtool.results import MemSweep, StepSeries, Trial
from lrtool.units import count_of, format_bytes

GIB, MIB = 2**30, 2**20
MAX_PANELS = 12
MAX_COLUMNS = 6
MAX_POINTS = 600
"""As many steps are drawn; of the steps that fall into one point, that with the most memory."""
_BACKED = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
Floats = NDArray[np.float64]


def draw_steps(result: MemSweep, series: Mapping[int, StepSeries]) -> Figure:
    """Allocated, peak and reserved memory over the steps: a panel for each trial, with the same axes."""
    drawn = _panels(result, series)
    columns = 1 if len(drawn) <= 4 else 2
    rows = max(1, -(-len(drawn) // columns))
    figure = Figure(figsize=(8 if columns == 1 else 11, 1.6 + 2.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    highest = _highest(result, drawn, series)
    unit, name = (GIB, "GiB") if highest >= GIB else (MIB, "MiB")
    num_steps = max((trial.num_steps for trial in drawn), default=1)
    for axes, trial in zip(panels.flat, drawn, strict=False):
        axes.set_xlim(1, max(2, num_steps))
        axes.set_ylim(0, 1.4 * max(highest, 1) / unit)
        _draw_trial(axes, trial, series[trial.number], capacity_bytes=result.capacity_bytes, unit=unit)
    for axes in panels.flat[len(drawn) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel(name)
    for axes in panels.flat[max(0, len(drawn) - columns) : len(drawn)]:
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)
    if drawn:
        _draw_key(panels.flat[0])
    figure.suptitle(_steps_title(result, len(drawn)), x=0.01, ha="left", fontsize=11)
    return figure


def draw_peaks(result: MemSweep) -> Figure:
    """Peak allocated and reserved, and fragmentation below, by step size; a column for each value of the other axes."""
    named = groups_of(result.trials)[:MAX_COLUMNS]
    figure = Figure(figsize=(max(8.0, 1.5 + 3.2 * len(named)), 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, max(1, len(named)), sharex="col", sharey="row", squeeze=False, height_ratios=(2, 1))
    highest = max(t.max_memory_reserved_bytes or 0 for t in result.trials) or result.capacity_bytes or MIB
    unit, name = (GIB, "GiB") if highest >= GIB else (MIB, "MiB")
    for column, (group_name, trials) in enumerate(named):
        panels[0, column].set_ylim(0, 1.35 * highest / unit)
        _draw_group_peaks(panels[0, column], trials, capacity_bytes=result.capacity_bytes, unit=unit)
        _draw_group_fragmentation(panels[1, column], trials)
        panels[0, column].set_title(group_name, loc="left", fontsize=10)
    _note(panels[0, 0], (0.012, 0.12), "reserved (square)", VERMILLION)
    _note(panels[0, 0], (0.012, 0.04), "allocated (circle)", BLUE)
    panels[0, 0].set_ylabel(name)
    panels[1, 0].set_ylabel("fragmentation (%)")
    panels[1, 0].set_ylim(0, 100 * 1.5 * max([t.fragmentation or 0 for t in result.trials] + [0.02]))
    figure.suptitle(_peaks_title(result, len(named)), x=0.01, ha="left", fontsize=11)
    return figure


def _panels(result: MemSweep, series: Mapping[int, StepSeries]) -> list[Trial]:
    """The first repeat of every condition that has steps, as many as fit, the longest of what does not fit left out last."""
    trials = [trial for _, group in groups_of(result.trials) for trial in group if trial.number in series]
    first = [t for t in trials if all(t.condition != e.condition or t.repeat <= e.repeat for e in trials)]
    return first[:MAX_PANELS]


def _highest(result: MemSweep, drawn: Sequence[Trial], series: Mapping[int, StepSeries]) -> int:
    """The top of the y axis: the highest reserved, and the capacity where it is not far above."""
    highest = max((max(series[trial.number].reserved_bytes) for trial in drawn), default=0)
    capacity = result.capacity_bytes
    return max(highest, capacity) if capacity is not None and capacity <= 1.6 * highest else highest


def _draw_trial(axes: Axes, trial: Trial, steps: StepSeries, *, capacity_bytes: int | None, unit: int) -> None:
    every = math.ceil(axes.get_xlim()[1] / MAX_POINTS)  # the same in all panels: equal steps must look equal
    x = _thinned_steps(len(steps.allocated_bytes), every)
    allocated, peak, reserved = (
        _thinned(values, every) / unit
        for values in (steps.allocated_bytes, steps.peak_allocated_bytes, steps.reserved_bytes)
    )
    axes.fill_between(x, allocated, color=SKY, linewidth=0)
    axes.plot(x, peak, color=BLUE, linewidth=1.0)
    axes.plot(x, reserved, color=VERMILLION, linewidth=1.6, drawstyle="steps-post")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_trial_title(trial), loc="left", fontsize=10)
    if capacity_bytes is not None:
        _draw_capacity(axes, capacity_bytes, unit)
    _draw_growth(axes, trial, steps, unit)
    at = len(x) - 1 if trial.status == "oom" else int(np.flatnonzero(reserved == reserved.max())[-1])
    crowded = capacity_bytes is not None and 0.8 * capacity_bytes < reserved[at] * unit < capacity_bytes
    _draw_end(axes, trial, x=float(x[at]), y=float(reserved[at]), crowded=crowded)


def _starts(num_steps: int, every: int) -> NDArray[np.int64]:
    """Where the points begin; the last one takes the rest, as a short one would look like a fall."""
    return np.arange(0, max(1, num_steps - every + 1), every)


def _thinned_steps(num_steps: int, every: int) -> Floats:
    """The last step of each point."""
    return np.append(_starts(num_steps, every)[1:], num_steps).astype(np.float64)


def _thinned(values: Sequence[int], every: int) -> Floats:
    return np.maximum.reduceat(np.asarray(values, dtype=np.float64), _starts(len(values), every))


def _draw_capacity(axes: Axes, capacity_bytes: int, unit: int) -> None:
    """As a line, or, where that would press everything else flat, in words."""
    text = f"capacity {format_bytes(capacity_bytes)}"
    if capacity_bytes / unit > axes.get_ylim()[1]:
        axes.text(0.012, 0.86, f"{text}, far above", transform=axes.transAxes, fontsize=9)
        return
    axes.axhline(capacity_bytes / unit, color="black", linewidth=0.8, linestyle="--")
    axes.annotate(
        text, (0, capacity_bytes / unit), xycoords=("axes fraction", "data"), xytext=(6, 4),
        textcoords="offset points", fontsize=9, bbox=_BACKED,
    )  # fmt: skip


def _draw_key(axes: Axes) -> None:
    for x, text, color in (
        (0.012, "reserved (thick)", VERMILLION),
        (0.25, "peak allocated (thin)", BLUE),
        (0.56, "allocated at the step's end (area)", BLUE),
    ):
        axes.text(x, 0.98, text, transform=axes.transAxes, color=color, fontsize=9, va="top")


def _draw_growth(axes: Axes, trial: Trial, steps: StepSeries, unit: int) -> None:
    """The fit goes through the middle of what it was fitted to, and on to the end of the axis."""
    growth = trial.growth
    if growth is None or growth.low_bytes_per_step <= 0:
        return
    after = np.asarray(steps.allocated_bytes[growth.warmup_steps :], dtype=np.float64)
    at = np.arange(growth.warmup_steps + 1, len(steps.allocated_bytes) + 1)
    level = float(np.median(after - growth.bytes_per_step * at))
    ends = np.array([growth.warmup_steps + 1, axes.get_xlim()[1]])
    axes.plot(ends, (level + growth.bytes_per_step * ends) / unit, color=GREEN, linewidth=1.4, linestyle=(0, (4, 2)))
    x = 0.5 * axes.get_xlim()[1]
    axes.annotate(
        f"grows {growth_text(growth)} per step (dashed: fit)", (x, (level + growth.bytes_per_step * x) / unit),
        xytext=(-4, 12), textcoords="offset points", ha="right", color=GREEN, fontsize=9, bbox=_BACKED,
    )  # fmt: skip


def _draw_end(axes: Axes, trial: Trial, *, x: float, y: float, crowded: bool) -> None:
    """The peak where it was last reached, or the OOM; its label on the side that has room, below a near capacity."""
    is_oom = trial.status == "oom"
    reserved = trial.max_memory_reserved_bytes
    text = "out of memory" if is_oom else f"peak reserved {format_bytes(reserved)}" if reserved is not None else ""
    axes.plot([x], [y], marker="X" if is_oom else "v", color=VERMILLION, markersize=8, zorder=5, clip_on=False)
    left = x > 0.6 * axes.get_xlim()[1]
    axes.annotate(
        text, (x, y), xytext=(-10 if left else 10, -16 if is_oom or crowded else 7), textcoords="offset points",
        ha="right" if left else "left", color=VERMILLION, fontsize=9, fontweight="bold", bbox=_BACKED,
    )  # fmt: skip


def _note(axes: Axes, at: tuple[float, float], text: str, color: str) -> None:
    axes.text(*at, text, transform=axes.transAxes, color=color, fontsize=9, bbox=_BACKED)


def _trial_title(trial: Trial) -> str:
    axes = ", ".join(f"{name} {value}" for name, value in trial.condition.params.items())
    how = HOW_KNOWN[trial.recorder]
    name = f"step size {step_size_name(trial.condition)}{f', {axes}' if axes else ''}"
    if trial.status == "oom" and trial.death is not None:
        return f"{name}: out of memory at step {trial.death.step:,} of {trial.num_steps:,} ({how})"
    ending = "ends after" if trial.status == "ok" else f"{trial.status} after"
    return f"{name}: {ending} {count_of(trial.num_steps_done, 'step')} ({how})"


def _steps_title(result: MemSweep, num_drawn: int) -> str:
    verdict = result.verdict
    if num_drawn == 0:
        return f"{result.target}: no step was finished"
    parts = [_EQUALITY[verdict.step_size_matters]]
    rate = verdict.growth_bytes_per_step
    if rate and verdict.forecast_step is not None:
        room = "memory" if result.capacity_bytes is None else format_bytes(result.capacity_bytes)
        parts.append(f"it grows {format_bytes(round(rate))} per step: {room} full at step {verdict.forecast_step:,}")
    conditions = len({repr(trial.condition) for trial in result.trials})
    parts += [f"{num_drawn} of {conditions} conditions drawn"] if num_drawn < conditions else []
    return ";\n".join(parts)


_EQUALITY = {
    False: "At equal steps all step sizes use the same memory",
    True: "At equal steps memory depends on the step size",
    None: "Memory over the steps",
}


def _peaks_title(result: MemSweep, num_drawn: int) -> str:
    how, groups = HOW_KNOWN[result.recorder], len(groups_of(result.trials))
    left_out = f"; {num_drawn} of {groups} groups drawn" if num_drawn < groups else ""
    peaks = [t.max_memory_reserved_bytes for t in result.trials if t.max_memory_reserved_bytes is not None]
    if not peaks:
        return f"No trial finished a step ({how})"
    low, high = format_bytes(min(peaks)), format_bytes(max(peaks))
    return f"Peak reserved {low if low == high else f'{low} to {high}'} by step size ({how}{left_out})"


def _draw_group_peaks(axes: Axes, trials: Sequence[Trial], *, capacity_bytes: int | None, unit: int) -> None:
    names = list(dict.fromkeys(step_size_name(trial.condition) for trial in trials))
    axes.set_xlim(-0.6, len(names) - 0.4)
    for trial in trials:
        x = names.index(step_size_name(trial.condition))
        _draw_peak(axes, trial, x, unit)
    if capacity_bytes is not None:
        _draw_capacity(axes, capacity_bytes, unit)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_peak(axes: Axes, trial: Trial, x: int, unit: int) -> None:
    allocated, reserved = trial.max_memory_allocated_bytes, trial.max_memory_reserved_bytes
    is_oom = trial.status == "oom"
    if allocated is None or reserved is None:
        axes.plot([x], [0], marker="X", color=VERMILLION, markersize=9, clip_on=False, zorder=5)
        axes.annotate(STATUS[trial.status], (x, 0), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9)
        return
    axes.plot([x, x], [allocated / unit, reserved / unit], color=GREY, linewidth=1.0)
    axes.plot([x], [reserved / unit], marker="X" if is_oom else "s", color=VERMILLION, markersize=9 if is_oom else 7)
    axes.plot([x], [allocated / unit], marker="o", color=BLUE, markersize=6)
    if trial.repeat == 0:
        text = f"{format_bytes(reserved)}{', then OOM' if is_oom else ''}"
        axes.annotate(text, (x, reserved / unit), xytext=(0, 8), textcoords="offset points", ha="center",
                      color=VERMILLION, fontsize=9, bbox=_BACKED)  # fmt: skip


def _draw_group_fragmentation(axes: Axes, trials: Sequence[Trial]) -> None:
    names = list(dict.fromkeys(step_size_name(trial.condition) for trial in trials))
    known = [trial for trial in trials if trial.fragmentation is not None]
    x = [names.index(step_size_name(trial.condition)) for trial in known]
    y = [100 * (trial.fragmentation or 0) for trial in known]
    if known:  # matplotlib would take the extent of nothing into the layout, and squeeze the panels flat
        axes.vlines(x, 0, y, color=GREY, linewidth=1.0)
        axes.plot(x, y, marker="D", linestyle="none", color=GREEN, markersize=6, clip_on=False)
    for trial, at, height in zip(known, x, y, strict=True):
        if trial.repeat == 0:
            axes.annotate(percent(trial.fragmentation), (at, height), xytext=(0, 7), textcoords="offset points",
                          ha="center", color=GREEN, fontsize=9)  # fmt: skip
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("step size (step_size_up)")
    axes.spines[["top", "right"]].set_visible(False)
