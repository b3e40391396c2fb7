"""A replay as lines and a table: the best settings first, where memory runs out and what would survive last."""

from rich.console import RenderableType
from rich.text import Text

from lrtool.report.grid import Column, Fact, Facts, Grid, Row, numbers
from lrtool.report.parts import percent
from lrtool.results import Replay, ReplayOom, ReplayRow
from lrtool.units import format_bytes


def replay_lines(result: Replay) -> list[RenderableType]:
    """Everything but the closing line."""
    parts: list[RenderableType] = [
        Text(replay_answer(result), style="bold"),
        "",
        scenario_table(result),
        "",
        figure_table(result),
    ]
    parts += [Text(line) for line in recorded_lines(result)]
    parts += [Text(line) for row in result.rows for line in oom_lines(result, row)]
    least = least_lines(result)
    parts += ["", *map(Text, least)] if least else []
    parts += [Text(f"\nnote: {warning}", style="dim") for warning in result.warnings]
    return parts


def replay_answer(result: Replay) -> str:
    """The replay in one sentence."""
    row = result.rows[result.best]
    if not result.has_history and row.death is None:
        held = f"{format_bytes(row.peak_allocated_bytes)} of {format_bytes(row.peak_reserved_bytes)} reserved were live"
        return f"There is no history to replay: when the snapshot was taken, {held}."
    return f"{_outcome(result, row)}{_recorded(result)}"


def _recorded(result: Replay) -> str:
    """That the recording itself ran out of memory, where it did."""
    return "" if result.recorded_oom is None else " The recording itself ran out of memory."


def _outcome(result: Replay, row: ReplayRow) -> str:
    what = f"peak reserved {format_bytes(row.peak_reserved_bytes)}, peak allocated {format_bytes(row.peak_allocated_bytes)}"
    if row.death is not None:
        survivors = f"; it survives with {row.death.surviving_settings[0]}" if row.death.surviving_settings else ""
        tried = "Every row runs" if len(result.rows) > 1 else "It runs"
        return f"{tried} out of memory ({row.death.cause}){_on(row)} {_when(row.death)}{survivors}."
    if len(result.rows) == 1:
        return f"It survives{_on(row)}: {what}, fragmentation {percent(row.fragmentation)}."
    return f"Best: {settings_name(row)}{_on(row)}: {what}, fragmentation {percent(row.fragmentation)}."


def settings_name(row: ReplayRow) -> str:
    """The settings as a person would say them."""
    return (row.settings or "default settings") + ("" if row.caching else ", no caching")


def _on(row: ReplayRow) -> str:
    if row.capacity_bytes is None:
        return ""
    return f" on {format_bytes(row.capacity_bytes)}" + (f" ({row.card})" if row.card else "")


def _start(result: Replay, row: ReplayRow) -> str:
    """From where a row starts, where rows differ in that."""
    if is_moved(result, row):
        return ", from an empty device"
    return ", from the recorded start" if any(is_moved(result, each) for each in result.rows) else ""


def is_moved(result: Replay, row: ReplayRow) -> bool:
    """Whether a row starts elsewhere than the recording does."""
    return row.starts_from not in (None, result.starts_from)


def scenario_table(result: Replay) -> Facts:
    """What each row of the figures was replayed under."""
    rows = []
    for number, row in enumerate(result.rows, 1):
        best = "  (best)" if number - 1 == result.best and len(result.rows) > 1 else ""
        text = f"{settings_name(row)}{_on(row)}, torch {row.torch}{_start(result, row)}{best}"
        rows.append(Fact(label=str(number), text=text))
    return Facts(rows=tuple(rows), is_numbered=True)


def figure_table(result: Replay) -> Grid:
    """A row for each replay."""
    headings = (
        "\n#",
        "peak\nallocated",
        "peak\nreserved",
        "\nfrag.",
        "\nsplit",
        "largest\nfree",
        "\nretries",
        "device\nallocs",
    )
    rows = (
        (
            str(number),
            format_bytes(row.peak_allocated_bytes),
            format_bytes(row.peak_reserved_bytes),
            percent(row.fragmentation),
            percent(row.split_fragmentation),
            percent(row.largest_free_ratio),
            str(row.num_alloc_retries),
            str(row.num_device_allocs),
            {"ok": "survives", "oom": "OOM", "error": "error"}[row.outcome],
        )
        for number, row in enumerate(result.rows, 1)
    )
    columns = (*numbers(*headings), Column(heading="\noutcome"))
    return Grid(columns=columns, rows=tuple(Row(cells=cells) for cells in rows), gap=1)


def recorded_lines(result: Replay) -> list[str]:
    """The out-of-memory that the recording holds, after an empty line; none where it holds none."""
    oom = result.recorded_oom
    if oom is None:
        return []
    at = f", at {oom.source}" if oom.source else ""
    more = f", the last of {oom.num_ooms:,} times" if oom.num_ooms > 1 else ""
    return [
        "",
        f"The recording ran out of memory on cuda:{oom.device} at request {oom.request + 1:,} of {result.num_requests:,}"
        f"{at}{more}",
        f"  asked for {format_bytes(oom.size_bytes)}, with {format_bytes(oom.reserved_bytes)} reserved and "
        f"{format_bytes(oom.device_free_bytes)} free on the device; largest free piece "
        f"{format_bytes(oom.largest_free_bytes)}, all free {format_bytes(oom.free_bytes)}",
        f"  a replay without a capacity grants what failed; --capacity {oom.capacity_bytes} is what there was",
    ]


def oom_lines(result: Replay, row: ReplayRow) -> list[str]:
    """How a row runs out of memory, and what would let it survive, after an empty line; none where it survives."""
    oom = row.death
    if oom is None:
        return []
    where = ", ".join(text for text in (oom.phase, oom.source) if text)
    number = result.rows.index(row) + 1
    lines = [
        "",
        f"Row {number} runs out of memory ({oom.cause}) {_when(oom)}"
        + ("" if oom.at_start or is_moved(result, row) else f" of {result.num_requests:,}")
        + (f" ({where})" if where else ""),
    ]
    if not oom.at_start:
        lines.append(
            f"  asked for {format_bytes(oom.size_bytes)}; largest free piece {format_bytes(oom.largest_free_bytes)}, "
            f"all free {format_bytes(oom.free_bytes)}"
        )
    if oom.detail is not None:
        lines.append(f"  {oom.detail}")
    return [*lines, f"  {_way_out(row, oom)}"]


def _when(oom: ReplayOom) -> str:
    return "before its first request" if oom.at_start else f"at request {oom.request + 1:,}"


def _way_out(row: ReplayRow, oom: ReplayOom) -> str:
    if row.starts_from == "a running process":
        return "it needs less memory, or more of it (--min-capacity); the middle of a run does not tell what other settings do"
    if not oom.surviving_settings:
        return "no settings tried would survive here: it needs less memory, or more of it (--min-capacity)"
    return f"would survive with {' or '.join(oom.surviving_settings)}"


def least_lines(result: Replay) -> list[str]:
    """The smallest capacity of each row, where it was searched for."""
    return list(dict.fromkeys(line for row in result.rows if (line := _least_line(row))))


def _least_line(row: ReplayRow) -> str:
    least = row.least_capacity
    if least is None:
        return ""
    proof = "" if least.is_proven else "; smaller ones were not all tried"
    flushes = f"{least.num_alloc_retries} cache flush{'es' if least.num_alloc_retries != 1 else ''}"
    return (
        f"min capacity, {settings_name(row)}: {format_bytes(least.capacity_bytes)} ({least.capacity_bytes:,} B), with "
        f"{flushes}; unpressured it reserves {format_bytes(least.unpressured_peak_bytes)}{proof}"
    )
