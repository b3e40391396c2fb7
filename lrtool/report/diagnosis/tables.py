"""A diagnosis as lines: the verdict, each finding with evidence, proof and cure, and the budget of bytes."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from lrtool.report.assumptions import assumption_rows, card_rows, device_rows, peak_rows
from lrtool.report.diagnosis.cure_tables import cure_lines, max_batch_lines
from lrtool.report.grid import Column, Fact, Facts, Grid, Row, Tone, labelled, numbers
from lrtool.report.ranks import rank_lines
from lrtool.results import Budget, Category, Diagnosis, Finding, PeakLine
from lrtool.units import count_of, format_bytes, format_duration

MAX_FINDINGS = 5
MAX_LINES = 5


def diagnosis_lines(result: Diagnosis) -> list[RenderableType]:
    """All of it, in order."""
    parts: list[RenderableType] = [Text(result.verdict, style="bold"), ""]
    for number, finding in enumerate(result.findings[:MAX_FINDINGS], 1):
        parts += [finding_table(number, finding), ""]
    if result.budget is not None:
        parts += [budget_table(result.budget), ""]
    if result.peak_lines:
        parts += [lines_table(result.peak_lines), ""]
    if result.cures is not None:
        parts += [*cure_lines(result.cures), ""]
    if result.max_batch is not None:
        parts += [*max_batch_lines(result.max_batch), ""]
    if result.ranks is not None:
        parts += [*rank_lines(result.ranks), ""]
    parts.append(diagnosis_facts(result))
    return parts


def budget_rows(budget: Budget) -> Iterator[tuple[str, int]]:
    """The lines of a budget that hold anything, then reserved, and what else the device holds."""
    for line in budget.lines:
        if line.num_bytes:
            yield line.name, line.num_bytes
    yield "reserved", budget.reserved_bytes
    yield f"context ({'measured' if budget.is_context_measured else 'assumed'})", budget.context_bytes
    if budget.other_processes_bytes is not None:
        yield "other processes", budget.other_processes_bytes
    if budget.device_used_bytes is not None:
        yield "device", budget.device_used_bytes


def finding_table(number: int, finding: Finding) -> Facts:
    """A finding with its evidence, and what cures and proves it."""
    head = f"{number}. {finding.title}" if finding.cause != "none" else finding.title
    rows = [
        Fact(label="finding", text=f"{head} [{finding.cause}] (confidence: {finding.confidence})"),
        *(Fact(label="evidence", text=evidence) for evidence in finding.evidence),
    ]
    if finding.cause != "none":
        rows += [Fact(label="cure", text=finding.cure, style="green"), Fact(label="proof", text=finding.proof)]
    return Facts(rows=tuple(rows))


def budget_table(budget: Budget) -> Grid:
    """Where the bytes are, with the largest holders of activations below their line."""
    first = Column(heading=f"at {budget.place}", wraps="between words")
    modules = [Row(cells=(f"  {each.name}", format_bytes(each.num_bytes), ""), tone="minor") for each in budget.modules]
    rows = []
    for name, size in budget_rows(budget):
        share = "" if name.startswith(("context", "other", "device")) else _share(size, budget.reserved_bytes)
        tone: Tone = "sum" if name in ("reserved", "device") else "plain"
        rows.append(Row(cells=(name, format_bytes(size), share), tone=tone))
        if name == Category.ACTIVATION.plural:
            rows += modules
    if not any(line.name == Category.ACTIVATION.plural for line in budget.lines):
        rows += modules
    return Grid(columns=(first, *numbers("bytes", "share")), rows=tuple(rows))


def lines_table(lines: Sequence[PeakLine]) -> Grid:
    """The largest lines at the peak of allocated memory, each with its largest tensor below."""
    rows: list[Row] = []
    for each in lines[:MAX_LINES]:
        rows += [
            Row(cells=(each.text, format_bytes(each.num_bytes))),
            Row(cells=(f"  {each.what}", ""), tone="minor"),
        ]
    first = Column(heading="largest lines at the peak", wraps="between words")
    return Grid(columns=(first, *numbers("bytes")), rows=tuple(rows))


def diagnosis_facts(result: Diagnosis) -> Facts:
    """Where the figures come from, and what they were judged by."""
    card = f", {result.card}" if result.card else ""
    steps = f", {count_of(result.num_steps, 'step')}" if result.num_steps else ""
    known = [("figures", f"{result.recorder}: {result.recorder_reason}")] if result.recorder is not None else []
    if result.capacity_bytes is not None:
        known.append(("capacity", f"{format_bytes(result.capacity_bytes)}{card}"))
    if result.settings:
        known.append(("settings", result.settings))
    known += peak_rows(result.peak_reserved_bytes, result.peak_interval)
    known += device_rows(result.devices)
    known += card_rows(result.on_card)
    known += assumption_rows(result.assumptions)
    known += [("note", note) for note in result.notes]
    return labelled([*known, ("read", f"{result.target}{steps} in {format_duration(result.duration_s)}")])


def _share(size: int, total: int) -> str:
    return f"{size / total:.1%}" if total else ""
