"""A diagnosis as lines: the verdict, each finding with evidence, proof and cure, and the budget of bytes."""

from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lrtool.report.diagnosis.cure_tables import cure_lines, max_batch_lines
from lrtool.report.ranks import rank_lines
from lrtool.results import Budget, Category, Diagnosis, Finding
from lrtool.units import format_bytes, format_duration

MAX_FINDINGS = 5


def diagnosis_lines(result: Diagnosis) -> list[RenderableType]:
    """All of it, in order."""
    parts: list[RenderableType] = [Text(result.verdict, style="bold"), ""]
    for number, finding in enumerate(result.findings[:MAX_FINDINGS], 1):
        parts += [finding_table(number, finding), ""]
    if result.budget is not None:
        parts += [budget_table(result.budget), ""]
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


def finding_table(number: int, finding: Finding) -> Table:
    """A finding with its evidence, and what cures and proves it."""
    table = _labelled()
    head = f"{number}. {finding.title}" if finding.cause != "none" else finding.title
    table.add_row(Text("finding", style="dim"), Text(f"{head} [{finding.cause}] (confidence: {finding.confidence})"))
    for evidence in finding.evidence:
        table.add_row(Text("evidence", style="dim"), Text(evidence))
    if finding.cause != "none":
        table.add_row(Text("cure", style="dim"), Text(finding.cure, style="green"))
        table.add_row(Text("proof", style="dim"), Text(finding.proof))
    return table


def budget_table(budget: Budget) -> Table:
    """Where the bytes are, with the largest holders of activations below their line."""
    place = f"step {budget.step:,}" if budget.step else "the build"
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2))
    table.add_column(f"at {place}{f', in {budget.phase}' if budget.phase else ''}")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for name, size in budget_rows(budget):
        share = "" if name.startswith(("context", "other", "device")) else f"{_share(size, budget.reserved_bytes)}"
        table.add_row(name, format_bytes(size), share, style="bold" if name in ("reserved", "device") else "")
        if name == Category.ACTIVATION.plural:
            for module in budget.modules:
                table.add_row(Text(f"  {module.name}", style="dim"), format_bytes(module.num_bytes), "")
    if not any(line.name == Category.ACTIVATION.plural for line in budget.lines):
        for module in budget.modules:
            table.add_row(Text(f"  {module.name}", style="dim"), format_bytes(module.num_bytes), "")
    return table


def diagnosis_facts(result: Diagnosis) -> Table:
    """Where the figures come from, and what they were judged by."""
    table = _labelled()
    if result.recorder is not None:
        table.add_row(Text("figures", style="dim"), Text(f"{result.recorder}: {result.recorder_reason}"))
    if result.capacity_bytes is not None:
        card = f", {result.card}" if result.card else ""
        table.add_row(Text("capacity", style="dim"), Text(f"{format_bytes(result.capacity_bytes)}{card}"))
    if result.settings:
        table.add_row(Text("settings", style="dim"), Text(result.settings))
    for note in result.notes:
        table.add_row(Text("note", style="dim"), Text(note))
    steps = f", {result.num_steps:,} steps" if result.num_steps else ""
    table.add_row(
        Text("read", style="dim"), Text(f"{result.target}{steps} in {format_duration(result.duration_s)}")
    )  # fmt: skip
    return table


def _labelled() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _share(size: int, total: int) -> str:
    return f"{size / total:.1%}" if total else ""
