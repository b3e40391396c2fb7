"""The page of a replay."""

from collections.abc import Iterator

from rich.text import Text

from lrtool.report.page import Page, Plots, Section, blocks_of
from lrtool.report.parts import percent
from lrtool.report.replay.tables import (
    figure_table,
    least_lines,
    oom_lines,
    recorded_lines,
    replay_answer,
    scenario_table,
)
from lrtool.results import Replay
from lrtool.units import format_bytes

TERMS = (
    "peak allocated", "peak reserved", "peak active", "fragmentation", "split", "largest free", "retries",
    "device allocs", "out of memory by fragmentation",
)  # fmt: skip


def replay_page(result: Replay, plots: Plots) -> Page:
    """The figures of the best row, then all of them."""
    best = result.rows[result.best]
    return Page(
        verdict=replay_answer(result),
        numbers=(
            ("peak reserved", format_bytes(best.peak_reserved_bytes)),
            ("peak allocated", format_bytes(best.peak_allocated_bytes)),
            ("fragmentation", percent(best.fragmentation)),
            ("retries", f"{best.num_alloc_retries:,}"),
        ),
        sections=tuple(_sections(result, plots)),
        terms=TERMS,
    )


def _sections(result: Replay, plots: Plots) -> Iterator[Section]:
    yield Section(
        place="sweep", heading="The replays", blocks=blocks_of([scenario_table(result), figure_table(result)])
    )
    yield Section(place="timeline", heading="Memory over the requests", blocks=(plots["timeline"],))
    yield Section(place="timeline", heading="The segments", blocks=(plots["segments"],))
    if recorded := [Text(line) for line in recorded_lines(result)]:
        yield Section(place="findings", heading="What the recording met", blocks=blocks_of(recorded))
    if failures := [Text(line) for row in result.rows for line in oom_lines(result, row)]:
        yield Section(
            place="findings", heading="What runs out of memory, and what would survive", blocks=blocks_of(failures)
        )
    if notes := [*least_lines(result), *(f"note: {warning}" for warning in result.warnings)]:
        yield Section(place="details", heading="Notes", blocks=blocks_of(notes))
