"""A check in the terminal: the answer, a line for each limit, what grew, and what limits the comparison."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from lrtool.gate.alignment import label_of, varying_axes
from lrtool.gate.limits import format_value
from lrtool.report.grid import Column, Grid, Row, labelled, numbers
from lrtool.results import METRICS, Check, GateLine, Grown, RunSummary
from lrtool.results.stored.texts import shown
from lrtool.units import format_bytes, printable

VERDICTS = {"ok": "ok", "over": "OVER", "unknown": "unknown"}


def check_lines(check: Check) -> list[RenderableType]:
    """Everything but the closing line."""
    check = shown(check)
    style = "bold" if check.passed else "bold red"
    parts: list[RenderableType] = [Text(check.answer, style=style), "", limit_table(check)]
    remarks = [*_reasons(check), *_grown_rows(check), *(("note", note) for note in check.notes)]
    return [*parts, "", labelled(remarks)] if remarks else parts


def baseline_lines(summary: RunSummary) -> list[RenderableType]:
    """What a baseline holds to: its first metric of each case, and what later runs must share with it."""
    summary = shown(summary)
    cases = summary.cases
    axes = varying_axes([summary])
    name = next((name for name in METRICS if any(name in case.figures for case in cases)), None)
    rows = [
        (label_of(case, axes) or "all", f"{name} {format_value(name, case.figures[name].value)}")
        for case in cases
        if name is not None and name in case.figures
    ]
    count = f"{len(cases)} condition{'s'[: len(cases) != 1]}"
    facts = "; ".join(f"{fact} {value}" for fact, value in summary.facts.items())
    answer = Text(f"Baseline of {summary.facts.get('target', summary.command)}, {count}.", style="bold")
    return [answer, "", labelled([*rows, ("holds for", facts)])]


def limit_table(check: Check) -> Grid:
    """Limit, measured and margin, a line each; with a baseline, its figure too."""
    compares = any(line.baseline is not None for line in check.lines)
    headings = ("limit", *(["baseline"] if compares else []), "measured", "margin")
    columns = (Column(heading="metric"), *numbers(*headings, min_width=9), Column(heading="verdict"))
    return Grid(columns=columns, rows=tuple(_limit_row(line, compares) for line in check.lines), gap=1)


def _limit_row(line: GateLine, compares: bool) -> Row:
    baseline = [_value(line, line.baseline)] if compares else []
    measured = (_value(line, line.measured), margin_text(line), VERDICTS[line.verdict])
    return Row(cells=(line.metric, line.limit, *baseline, *measured), tone="bad" if line.verdict == "over" else "plain")


def margin_text(line: GateLine) -> str:
    """How much is left, signed; "-" where nothing was measured."""
    if line.margin is None:
        return "-"
    sign = "+" if line.margin > 0 else ""
    return f"{sign}{format_value(line.metric, line.margin)}"


def grown_text(grown: Grown) -> str:
    """ "+1.20 GiB at the peak: activation, encoder.0, model.py:41 loss = ... (2.00 GiB in the baseline)"."""
    place = " ".join(part for part in (grown.source, grown.line) if part)
    module = f"module {grown.module}" if grown.module else None
    words = ", ".join(part for part in (grown.category, module, place) if part) or "of unknown origin"
    names = " ".join(printable(words).split())
    rate = " per step" if grown.what == "step" else ""
    if grown.baseline_bytes is None:
        return f"{format_bytes(round(grown.num_bytes))}{rate}: {names}"
    rise = format_bytes(round(grown.num_bytes - grown.baseline_bytes))
    before, now = (format_bytes(round(value)) for value in (grown.baseline_bytes, grown.num_bytes))
    return f"+{rise}{rate}: {names} ({before} to {now})"


def _reasons(check: Check) -> Iterator[tuple[str, str]]:
    for line in check.lines:
        where = f"at {line.case}" if line.case else ""
        text = ": ".join(part for part in (where, line.reason) if part)
        if text and (line.reason or line.verdict == "over"):
            yield line.metric, text


def _grown_rows(check: Check) -> Iterator[tuple[str, str]]:
    for grown in check.grown:
        yield ("grew" if grown.baseline_bytes is not None else "uses"), grown_text(grown)


def _value(line: GateLine, value: float | None) -> str:
    return "-" if value is None else format_value(line.metric, value)
