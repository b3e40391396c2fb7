"""The page of a comparison."""

from lrtool.report.gate.compare_tables import comparison_lines
from lrtool.report.page import Page, Plots, Section, blocks_of
from lrtool.results import Comparison

TERMS = {
    "range-test": ("base_lr", "max_lr", "suggested_lr", "smoothed loss"),
    "mem-sweep": ("peak allocated", "peak reserved", "peak active", "fragmentation", "growth", "device allocs"),
    "replay": ("peak allocated", "peak reserved", "peak active", "fragmentation", "split", "retries", "device allocs"),
}


def comparison_page(result: Comparison, plots: Plots) -> Page:
    """How far the runs lie apart, then their curves over each other, then every figure."""
    _, *parts = comparison_lines(result)
    return Page(
        verdict=result.answer,
        numbers=(("runs", f"{len(result.runs)}"), ("comparable", "no" if result.not_comparable else "yes")),
        sections=(
            Section(place="curve", heading="The curves", blocks=(plots["compare"],)),
            Section(place="sweep", heading="The figures", blocks=blocks_of(parts)),
        ),
        terms=(*TERMS[result.compared], "noise of repeats"),
    )
