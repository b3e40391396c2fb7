"""Plots of a replay: memory over the requests, and the segments at the peak or where memory ran out, to scale."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from lrtool.report.figures import BLUE, GREY, ORANGE, SKY, VERMILLION
from lrtool.report.replay.tables import is_moved, settings_name
from lrtool.results import Replay, ReplayBlock, ReplayRow, ReplaySegment
from lrtool.units import format_bytes

GIB, MIB = 2**30, 2**20
MAX_SEGMENTS = 48
MAX_BLOCKS = 4000
MAX_PIECES = 200
"""With more blocks than that, those narrower than a so-manieth of the width are drawn together."""
_OUTLINE = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
_BACKED = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
FILLS = {"used": BLUE, "split": ORANGE, "free": "white"}
NAMES = {"used": "in use", "split": "free, split from a block in use", "free": "free, whole segment"}


def draw_timeline(result: Replay) -> Figure:
    """Allocated, active and reserved over the requests: one panel a row, one y axis for all."""
    rows = [row for row in result.rows if row.timeline is not None]
    figure = Figure(figsize=(8, 1.2 + 2.8 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    unit, name = _unit(max(row.peak_reserved_bytes for row in rows))
    highest = max(row.peak_reserved_bytes for row in rows) or unit
    for axes, row in zip(panels, rows, strict=True):
        _draw_row(axes, result, row, unit)
        axes.set_ylabel(name)
        axes.set_ylim(0, 1.25 * highest / unit)
    panels[-1].set_xlabel("allocator requests")
    return figure


def draw_segments(result: Replay) -> Figure:
    """The largest segments of the first row that runs out of memory, else of the best one: one bar each, to scale."""
    row = next((row for row in result.rows if row.death is not None and row.segments), result.rows[result.best])
    segments = sorted(row.segments, key=lambda segment: -segment.size_bytes)
    drawn, left_out = segments[:MAX_SEGMENTS], segments[MAX_SEGMENTS:]
    figure = Figure(figsize=(8, 1.6 + 0.16 * max(len(drawn), 4)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    largest = max((segment.size_bytes for segment in drawn), default=1)
    unit, name = _unit(largest)
    is_crowded = sum(len(segment.blocks) for segment in drawn) > MAX_BLOCKS
    for position, segment in enumerate(drawn):
        blocks = _merged(segment.blocks, least_bytes=largest // MAX_PIECES) if is_crowded else segment.blocks
        _draw_segment(axes, blocks, position, unit)
    axes.set_xlim(0, largest / unit)
    axes.set_ylim(max(len(drawn), 1) - 0.5, -0.5)
    axes.set_yticks([])
    small = f";\nblocks below {format_bytes(largest // MAX_PIECES)} drawn together" if is_crowded else ""
    axes.set_xlabel(f"{name} from the segment's start, {len(drawn)} largest segments{_left_out(left_out)}{small}")
    axes.set_title(_segments_title(row), loc="left", fontsize=11)
    axes.spines[["top", "right", "left"]].set_visible(False)
    _key(figure, {block.state for segment in drawn for block in segment.blocks})
    return figure


def _draw_row(axes: Axes, result: Replay, row: ReplayRow, unit: int) -> None:
    timeline = row.timeline
    assert timeline is not None
    x = timeline.request
    reserved, active, allocated = (
        [value / unit for value in values]
        for values in (timeline.reserved_bytes, timeline.active_bytes, timeline.allocated_bytes)
    )
    axes.fill_between(x, allocated, color=SKY, linewidth=0, step="post")
    axes.plot(x, active, color=BLUE, linewidth=1.0, drawstyle="steps-post")
    axes.plot(x, reserved, color=VERMILLION, linewidth=1.6, drawstyle="steps-post")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_row_title(result, row), loc="left", fontsize=10)
    axes.margins(x=0)
    if row.capacity_bytes is not None and row.capacity_bytes <= 1.25 * row.peak_reserved_bytes:
        axes.axhline(row.capacity_bytes / unit, color="black", linewidth=0.8, linestyle="--")
        _label(axes, x[0], row.capacity_bytes / unit, f" capacity {format_bytes(row.capacity_bytes)}", "black")
    _annotate_peak(axes, row, x, active, unit)
    early = len(x) // 10
    _label(axes, x[early], reserved[early], "reserved", VERMILLION)
    axes.annotate("active (line), allocated (area)", (x[0], 0), xytext=(6, 6), textcoords="offset points", fontsize=9,
                  bbox=_BACKED, color=BLUE)  # fmt: skip
    if timeline.repeats_from is not None and timeline.repeats_to is not None:
        axes.axvspan(
            timeline.repeats_from, timeline.repeats_to, facecolor="none", edgecolor=GREY, hatch="..", alpha=0.4
        )
        middle = (timeline.repeats_from + timeline.repeats_to) / 2
        axes.text(middle, 0.04, "repeats exactly", transform=axes.get_xaxis_transform(), ha="center", color=GREY,
                  fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip


def _annotate_peak(axes: Axes, row: ReplayRow, x: Sequence[int], active: Sequence[float], unit: int) -> None:
    timeline = row.timeline
    assert timeline is not None
    failed = row.death is not None
    at = x[-1] if failed else timeline.peak_request
    height = active[-1] if failed else row.peak_active_bytes / unit
    text = "out of memory here" if failed else f"peak active {format_bytes(row.peak_active_bytes)}"
    left = at > x[0] + 0.6 * (x[-1] - x[0])
    axes.plot(
        [at], [height], marker="X" if failed else "v", color=VERMILLION if failed else BLUE, markersize=8, zorder=5
    )
    axes.annotate(
        text, (at, height), xytext=(-8 if left else 8, -14), textcoords="offset points", ha="right" if left else "left",
        color=VERMILLION if failed else BLUE, fontsize=9, fontweight="bold",
        bbox=_BACKED,
    )  # fmt: skip


def _label(axes: Axes, x: float, y: float, text: str, color: str) -> None:
    axes.annotate(
        text, (x, y), xytext=(0, 4), textcoords="offset points", ha="left", color=color, fontsize=9, bbox=_BACKED
    )


def _row_title(result: Replay, row: ReplayRow) -> str:
    where = "" if row.capacity_bytes is None else f" on {format_bytes(row.capacity_bytes)}"
    end = "survives" if row.death is None else f"out of memory ({row.death.cause})"
    empty = ", from an empty device" if is_moved(result, row) else ""
    return f"{settings_name(row)}{where}{empty}: {end}, reserves {format_bytes(row.peak_reserved_bytes)} at its peak"


def _segments_title(row: ReplayRow) -> str:
    reserved = sum(segment.size_bytes for segment in row.segments)
    used = sum(block.size_bytes for segment in row.segments for block in segment.blocks if block.state == "used")
    when = "where memory ran out" if row.death is not None else "at the peak"
    return f"{settings_name(row)}: {format_bytes(used)} of {format_bytes(reserved)} reserved are in use {when}"


def _merged(blocks: Sequence[ReplayBlock], *, least_bytes: int) -> list[ReplayBlock]:
    """Neighbours as one piece until it is wide enough to be seen, in the state that most of its bytes have."""
    pieces: list[ReplayBlock] = []
    begin, of_state = 0, Counter[Literal["used", "free", "split", "unmapped"]]()
    for position, block in enumerate(blocks, 1):
        of_state[block.state] += block.size_bytes
        if of_state.total() >= least_bytes or position == len(blocks):
            state = of_state.most_common(1)[0][0]
            pieces.append(ReplayBlock(offset_bytes=begin, size_bytes=of_state.total(), state=state))
            begin, of_state = begin + of_state.total(), Counter()
    return pieces


def _draw_segment(axes: Axes, blocks: Sequence[ReplayBlock], position: int, unit: int) -> None:
    """All blocks of a state are one path: there may be thousands of them."""
    for state, color in FILLS.items():
        outlines = [_outline(block, position, unit) for block in blocks if block.state == state]
        if outlines:
            path = Path.make_compound_path(*outlines)
            hatch = "////" if state == "split" else None
            axes.add_patch(PathPatch(path, facecolor=color, edgecolor="black", linewidth=0.3, hatch=hatch))


def _outline(block: ReplayBlock, position: int, unit: int) -> Path:
    left, right = block.offset_bytes / unit, (block.offset_bytes + block.size_bytes) / unit
    low, high = position - 0.38, position + 0.38
    return Path([(left, low), (right, low), (right, high), (left, high), (left, low)], _OUTLINE)


def _key(figure: Figure, states: set[str]) -> None:
    """Colours and hatches named below the picture; a picture of blocks has no place for labels inside."""
    handles = [
        Rectangle(
            (0, 0), 1, 1, facecolor=color, edgecolor="black", linewidth=0.5, hatch="////" if state == "split" else None
        )
        for state, color in FILLS.items()
        if state in states
    ]
    figure.legend(
        handles,
        [NAMES[s] for s in FILLS if s in states],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )


def _left_out(segments: Sequence[ReplaySegment]) -> str:
    if not segments:
        return ""
    return f" ({len(segments)} smaller ones, {format_bytes(sum(s.size_bytes for s in segments))}, not drawn)"


def _unit(largest_bytes: int) -> tuple[int, str]:
    return (GIB, "GiB") if largest_bytes >= GIB else (MIB, "MiB")
