"""The page of a memory sweep."""

from lrtool.report.page import Page, Plots, Section, blocks_of, most_bytes, some
from lrtool.report.sweep.columns import columns_of, growth_text
from lrtool.report.sweep.tables import HOW_KNOWN, evidence_table, rank_parts, setup_table, trial_parts
from lrtool.results import MemSweep

TERMS = ("full at step", "difference at equal steps", "device allocs", "out of memory by fragmentation")
"""What the page shows besides the columns of its table."""


def sweep_page(result: MemSweep, plots: Plots) -> Page:
    """The peaks and where memory is heading, then every trial."""
    growing = max(result.trials, key=lambda trial: trial.growth.bytes_per_step if trial.growth else 0.0)
    step = result.verdict.forecast_step
    ranks = rank_parts(result)
    return Page(
        verdict=result.verdict.text,
        numbers=(
            ("peak allocated", most_bytes(trial.max_memory_allocated_bytes for trial in result.trials)),
            ("peak reserved", most_bytes(trial.max_memory_reserved_bytes for trial in result.trials)),
            ("growth per step", growth_text(growing.growth)),
            ("full at step", "-" if step is None else f"{step:,}"),
            ("figures", HOW_KNOWN[result.recorder]),
        ),
        sections=(
            Section(place="sweep", heading="The trials", blocks=(*blocks_of(trial_parts(result)), plots["peaks"])),
            Section(place="timeline", heading="Memory over the steps", blocks=(plots["steps"],)),
            *(
                Section(place="timeline", heading="The LR over the steps", blocks=(plot,))
                for plot in some(plots, "lrs")
            ),
            *([Section(place="budget", heading="The ranks", blocks=blocks_of(ranks))] if ranks else []),
            Section(place="findings", heading="Evidence", blocks=blocks_of([evidence_table(result)])),
            Section(place="details", heading="What was swept", blocks=blocks_of([setup_table(result)])),
        ),
        terms=(*(column.term for column in columns_of(result.trials)), *TERMS, HOW_KNOWN[result.recorder]),
    )
