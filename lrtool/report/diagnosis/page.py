"""The page of a diagnosis."""

from collections.abc import Iterator

from lrtool.report.diagnosis.cure_tables import cure_lines, max_batch_lines
from lrtool.report.diagnosis.tables import budget_table, diagnosis_facts, finding_table, lines_table
from lrtool.report.page import Page, Plots, Section, blocks_of, most_bytes, some
from lrtool.report.parts import percent
from lrtool.results import Diagnosis

TERMS = (
    "peak allocated", "peak reserved", "fragmentation", "growth", "out of memory by fragmentation", "activations",
    "temporaries", "workspaces", "rounding", "split bytes", "cache", "context",
)  # fmt: skip
OF_CURES = ("saved", "step time", "loss")


def diagnosis_page(result: Diagnosis, plots: Plots) -> Page:
    """The first finding, where the bytes are, then all findings, and what cures did."""
    first = result.findings[0]
    return Page(
        verdict=result.verdict,
        numbers=(
            ("first finding", first.cause),
            ("confidence", first.confidence),
            ("peak allocated", most_bytes([result.peak_allocated_bytes])),
            ("peak reserved", most_bytes([result.peak_reserved_bytes])),
            ("fragmentation", percent(result.fragmentation)),
        ),
        sections=tuple(_sections(result, plots)),
        terms=TERMS if result.cures is None else (*TERMS, *OF_CURES),
    )


def _sections(result: Diagnosis, plots: Plots) -> Iterator[Section]:
    if result.budget is not None:
        tables = [budget_table(result.budget), *([lines_table(result.peak_lines)] if result.peak_lines else [])]
        blocks = (*blocks_of(tables), plots["budget"])
        yield Section(place="budget", heading="Where the bytes are", blocks=blocks)
    findings = [finding_table(number, finding) for number, finding in enumerate(result.findings, 1)]
    yield Section(place="findings", heading="Findings", blocks=blocks_of(findings))
    if result.cures is not None:
        blocks = (*blocks_of(cure_lines(result.cures)), *some(plots, "cures"))
        yield Section(place="findings", heading="Cures, tried", blocks=blocks)
    if result.max_batch is not None:
        blocks = (*blocks_of(max_batch_lines(result.max_batch)), *some(plots, "batches"))
        yield Section(place="findings", heading="The largest batch", blocks=blocks)
    yield Section(place="details", heading="What was read", blocks=blocks_of([diagnosis_facts(result)]))
