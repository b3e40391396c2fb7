"""The plot of cures: bytes against a step's time, with the best front; those whose time is not known stand beside it."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import shorten

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrtool.report.diagnosis.cure_tables import cure_answer, max_batch_answer
from lrtool.report.figures import BLUE, GREEN, GREY, VERMILLION
from lrtool.results import Cures, MaxBatch
from lrtool.units import format_bytes

GIB, MIB = 2**30, 2**20
LINE_HEIGHT = 0.052
"""Of the axes: how far apart labels are kept."""
_LEADER = {"arrowstyle": "-", "linewidth": 0.5, "relpos": (0, 0.5)}
MAX_NAME = 30
"""Characters of a label's name that fit beside its point."""
_BACKED = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One thing that was tried: its name, peak reserved in bytes, time ratio if known, and how it is drawn."""

    name: str
    reserved_bytes: int
    time_ratio: float | None
    marker: str
    color: str
    is_on_front: bool = False


def cure_figures(cures: Cures | None, max_batch: MaxBatch | None) -> dict[str, Figure]:
    """The plots by name, of what there is."""
    figures = {} if cures is None else {"cures": draw_cures(cures)}
    return figures if max_batch is None else {**figures, "batches": draw_batches(max_batch)}


def draw_cures(cures: Cures) -> Figure:
    """Peak reserved memory of every cure over its step's time; on the right, those whose time nothing tells."""
    points = points_of(cures)
    timed = [point for point in points if point.time_ratio is not None]
    untimed = [point for point in points if point.time_ratio is None]
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 4))
    highest = max(point.reserved_bytes for point in points)
    unit, name = (GIB, "GiB") if highest >= GIB else (MIB, "MiB")
    left.set_ylim(0, _top(highest, cures.capacity_bytes) / unit)
    left.set_ylabel(f"peak reserved ({name})")
    is_counted = any(effect.time_basis == "operations" for effect in cures.effects)
    _draw_timed(left, timed, unit, basis="by floating-point operations" if is_counted else "measured")
    _draw_untimed(right, untimed, unit)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        _draw_capacity(axes, cures.capacity_bytes, unit)
    figure.suptitle(_wrapped(cure_answer(cures)), x=0.01, ha="left", fontsize=11)
    return figure


def draw_batches(found: MaxBatch) -> Figure:
    """Peak reserved memory over the batch size, of every size that was tried."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    known = [each for each in found.tries if each.peak_reserved_bytes is not None]
    highest = max((each.peak_reserved_bytes or 0 for each in known), default=found.capacity_bytes)
    unit, name = (GIB, "GiB") if highest >= GIB else (MIB, "MiB")
    axes.set_ylim(0, _top(highest, found.capacity_bytes) / unit)
    axes.set_xlabel("batch size (samples)")
    axes.set_ylabel(f"peak reserved ({name})")
    axes.spines[["top", "right"]].set_visible(False)
    for each in found.tries:
        height = (each.peak_reserved_bytes or 0) / unit
        marker, color = ("o", BLUE) if each.fits else ("X", VERMILLION)
        axes.plot([each.batch_size], [height], marker=marker, color=color, markersize=7, clip_on=False)
    axes.text(0.02, 0.97, "fits (circle)", transform=axes.transAxes, color=BLUE, fontsize=9, va="top")
    axes.text(0.02, 0.91, "does not fit (cross)", transform=axes.transAxes, color=VERMILLION, fontsize=9, va="top")
    _draw_capacity(axes, found.capacity_bytes, unit)
    axes.set_title(_wrapped(max_batch_answer(found)), loc="left", fontsize=11)
    return figure


def points_of(cures: Cures) -> tuple[Point, ...]:
    """The baseline, all cures that change its memory, and the best together, with those of the best front marked.

    On the front is what no other one beats both in bytes and in time (Pareto); where time is not known, it cannot be.
    """
    points = [
        Point(
            name="as it is",
            reserved_bytes=cures.baseline.peak_reserved_bytes,
            time_ratio=1.0,
            marker="s",
            color=GREY,
        )
    ]
    for effect in (*cures.effects, *([cures.together] if cures.together is not None else [])):
        if effect.figures is None or effect.outcome == "no effect":
            continue
        is_together = effect.name == "together"
        color = VERMILLION if is_together else BLUE if effect.outcome == "helps" else GREY
        points.append(
            Point(
                name="the best together" if is_together else effect.title,
                reserved_bytes=effect.figures.peak_reserved_bytes,
                time_ratio=effect.time_ratio,
                marker="D" if is_together else "o",
                color=color,
            )
        )
    front = front_of([(p.time_ratio, p.reserved_bytes) for p in points])
    return tuple(
        Point(
            name=p.name, reserved_bytes=p.reserved_bytes, time_ratio=p.time_ratio, marker=p.marker, color=p.color,
            is_on_front=index in front,
        )
        for index, p in enumerate(points)
    )  # fmt: skip


def front_of(pairs: Sequence[tuple[float | None, int]]) -> set[int]:
    """Indices of the (time, bytes) that no other one is at most equal to in both, and below in one; unknown times never."""
    known = [(index, time, size) for index, (time, size) in enumerate(pairs) if time is not None]

    def is_beaten(time: float, size: int) -> bool:
        return any(t <= time and s <= size and (t < time or s < size) for _, t, s in known)

    return {index for index, time, size in known if not is_beaten(time, size)}


def spread(heights: Iterable[float], *, distance: float) -> list[float]:
    """Label heights at least `distance` apart, in the same order, as near to their points as going upwards allows."""
    placed: list[float] = []
    for height in heights:
        placed.append(height if not placed else max(height, placed[-1] + distance))
    return placed


def _draw_timed(axes: Axes, points: Sequence[Point], unit: int, *, basis: str) -> None:
    axes.set_xlabel(f"time of a step, as it is = 1\n({basis})")
    ratios = [point.time_ratio or 1.0 for point in points]
    margin = 0.15 * max(max(ratios) - min(ratios), 0.4)
    axes.set_xlim(min(ratios) - margin, max(ratios) + 4 * margin)
    front = sorted((p.time_ratio or 0.0, p.reserved_bytes / unit) for p in points if p.is_on_front)
    axes.plot(*zip(*front, strict=True), color=GREEN, linewidth=1.4, drawstyle="steps-post", zorder=1)
    axes.annotate(
        "best front (green line, large marks)", (0.02, 0.03), xycoords="axes fraction", color=GREEN, fontsize=9, bbox=_BACKED
    )  # fmt: skip
    _draw_points(axes, points, [point.time_ratio or 1.0 for point in points], unit)


def _draw_untimed(axes: Axes, points: Sequence[Point], unit: int) -> None:
    axes.set_xlabel("time not known")
    axes.set_xticks([])
    axes.set_xlim(0, 1)
    _draw_points(axes, points, [0.06] * len(points), unit)


def _draw_points(axes: Axes, points: Sequence[Point], x: Sequence[float], unit: int) -> None:
    top = axes.get_ylim()[1]
    order = sorted(range(len(points)), key=lambda index: points[index].reserved_bytes)
    heights = spread((points[i].reserved_bytes / unit for i in order), distance=LINE_HEIGHT * top)
    low, high = axes.get_xlim()
    for index, label_at in zip(order, heights, strict=True):
        point, at = points[index], points[index].reserved_bytes / unit
        axes.plot([x[index]], [at], marker=point.marker, color=point.color, markersize=8 if point.is_on_front else 6,
                  zorder=3, clip_on=False)  # fmt: skip
        axes.annotate(
            f"{shorten(point.name, MAX_NAME, placeholder=' …')}  {format_bytes(point.reserved_bytes)}", (x[index], at),
            xytext=(x[index] + 0.035 * (high - low), label_at), textcoords="data", va="center", fontsize=8.5,
            color=point.color, bbox=_BACKED, arrowprops={**_LEADER, "color": point.color},
        )  # fmt: skip


def _draw_capacity(axes: Axes, capacity_bytes: int | None, unit: int) -> None:
    if capacity_bytes is None:
        return
    text = f"capacity {format_bytes(capacity_bytes)}"
    if capacity_bytes / unit > axes.get_ylim()[1]:
        axes.text(0.98, 0.97, f"{text}, far above", transform=axes.transAxes, fontsize=9, ha="right", va="top")
        return
    axes.axhline(capacity_bytes / unit, color="black", linewidth=0.8, linestyle="--", zorder=2)
    axes.annotate(
        text, (1, capacity_bytes / unit), xycoords=("axes fraction", "data"), xytext=(-4, 4),
        textcoords="offset points", fontsize=9, ha="right", bbox=_BACKED,
    )  # fmt: skip


def _top(highest: int, capacity_bytes: int | None) -> float:
    shown = capacity_bytes is not None and capacity_bytes <= 1.6 * highest
    return 1.25 * (max(highest, capacity_bytes) if shown and capacity_bytes is not None else highest)


def _wrapped(sentence: str) -> str:
    return "\n".join(textwrap.wrap(sentence, 100))
