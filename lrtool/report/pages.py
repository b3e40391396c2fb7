"""Which sections a result has on the report page: one function for each command, registered in `PAGES`.

To give a new result a page, write its function and add a line to `PAGES`; until then it is shown as in the terminal.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.text import Text

from lrtool.report.batch_scaling import scaling_table
from lrtool.report.diagnosis_tables import budget_table, diagnosis_facts, finding_table
from lrtool.report.page import Block, Page, Section, Snippet, blocks_of
from lrtool.report.replay_tables import (
    death_lines,
    figure_table,
    least_lines,
    percent,
    replay_answer,
    scenario_table,
)
from lrtool.report.rule_picks import rules_table
from lrtool.report.sweep_tables import (
    HOW_KNOWN,
    evidence_table,
    groups_of,
    growth_text,
    setup_table,
    trial_table,
)
from lrtool.report.tables import answer, fact_table, group_table, result_parts, step_size_note
from lrtool.results import Diagnosis, MemSweep, RangeTest, Replay, Result
from lrtool.units import format_bytes, format_lr

Plots = Mapping[str, Block]


def page_of(result: Result, plots: Plots) -> Page:
    """The page of a result; `plots` are its drawn figures by name."""
    return PAGES.get(type(result), _as_in_the_terminal)(result, plots)


def _range_test(result: RangeTest, plots: Plots) -> Page:
    sections = [
        Section(place="curve", heading="The curve", blocks=(plots["curve"], *blocks_of([fact_table(result)]))),
    ]
    if result.schedule_line is not None:
        code = f"from torch.optim.lr_scheduler import CyclicLR\n\nscheduler = {result.schedule_line}"
        sections.append(
            Section(
                place="snippet",
                heading="Ready to paste",
                blocks=(Snippet(code=code), *blocks_of([step_size_note(result)])),
            )
        )
    if len(result.param_groups) > 1 and result.max_lr is not None:
        sections.append(Section(place="snippet", heading="Parameter groups", blocks=blocks_of([group_table(result)])))
    sections += _further_tests(result, plots)
    terms = ("base_lr", "max_lr", "suggested_lr", "confidence", "step_size_up", "smoothed loss", "noise")
    return Page(
        verdict=answer(result),
        numbers=(
            ("base_lr", _lr(result.base_lr)),
            ("max_lr", _lr(result.max_lr)),
            ("suggested_lr (constant)", _lr(result.suggested_lr)),
            ("confidence", result.confidence),
        ),
        sections=tuple(sections),
        terms=terms,
    )


def _further_tests(result: RangeTest, plots: Plots) -> list[Section]:
    """The groups alone, the batch sizes and other finders' rules, where they were asked for."""
    sections = []
    if "groups" in plots:
        sections.append(Section(place="curve", heading="Each parameter group alone", blocks=(plots["groups"],)))
    if result.batch_scaling is not None and "scaling" in plots:
        blocks = (plots["scaling"], *blocks_of([scaling_table(result.batch_scaling)]))
        sections.append(Section(place="curve", heading="How the LR scales with the batch size", blocks=blocks))
    if result.rules:
        blocks = blocks_of([rules_table(result)])
        sections.append(Section(place="curve", heading="Other finders' rules on this curve", blocks=blocks))
    return sections


def _mem_sweep(result: MemSweep, plots: Plots) -> Page:
    trials = [
        part for name, group in groups_of(result.trials) for part in ([name] if name else []) + [trial_table(group)]
    ]
    growing = max(result.trials, key=lambda trial: trial.growth.bytes_per_step if trial.growth else 0.0)
    step = result.verdict.forecast_step
    return Page(
        verdict=result.verdict.text,
        numbers=(
            ("peak allocated", _most(trial.max_memory_allocated_bytes for trial in result.trials)),
            ("peak reserved", _most(trial.max_memory_reserved_bytes for trial in result.trials)),
            ("growth per step", growth_text(growing.growth)),
            ("full at step", "-" if step is None else f"{step:,}"),
            ("figures", HOW_KNOWN[result.recorder]),
        ),
        sections=(
            Section(place="sweep", heading="The trials", blocks=(*blocks_of(trials), plots["peaks"])),
            Section(place="timeline", heading="Memory over the steps", blocks=(plots["steps"],)),
            Section(place="findings", heading="Evidence", blocks=blocks_of([evidence_table(result)])),
            Section(place="details", heading="What was swept", blocks=blocks_of([setup_table(result)])),
        ),
        terms=(
            "peak allocated", "peak reserved", "fragmentation", "growth", "full at step", "difference at equal steps",
            "device allocs", "died of fragmentation", HOW_KNOWN[result.recorder],
        ),
    )  # fmt: skip


def _replay(result: Replay, plots: Plots) -> Page:
    best = result.rows[result.best]
    deaths = [Text(line) for row in result.rows for line in death_lines(result, row)]
    sections = [
        Section(place="sweep", heading="The replays", blocks=blocks_of([scenario_table(result), figure_table(result)])),
        Section(place="timeline", heading="Memory over the requests", blocks=(plots["timeline"],)),
        Section(place="timeline", heading="The segments", blocks=(plots["segments"],)),
    ]
    if deaths:
        sections.append(
            Section(place="findings", heading="What dies, and what would survive", blocks=blocks_of(deaths))
        )
    if lines := [*least_lines(result), *(f"note: {warning}" for warning in result.warnings)]:
        sections.append(Section(place="details", heading="Notes", blocks=blocks_of(lines)))
    return Page(
        verdict=replay_answer(result),
        numbers=(
            ("peak reserved", format_bytes(best.peak_reserved_bytes)),
            ("peak allocated", format_bytes(best.peak_allocated_bytes)),
            ("fragmentation", percent(best.fragmentation)),
            ("cache flushes", f"{best.num_alloc_retries:,}"),
        ),
        sections=tuple(sections),
        terms=(
            "peak allocated", "peak reserved", "peak active", "fragmentation", "split", "largest free", "retries",
            "device allocs", "died of fragmentation",
        ),
    )  # fmt: skip


def _diagnosis(result: Diagnosis, plots: Plots) -> Page:
    findings = [finding_table(number, finding) for number, finding in enumerate(result.findings, 1)]
    sections = [Section(place="findings", heading="Findings", blocks=blocks_of(findings))]
    if result.budget is not None:
        blocks = (*blocks_of([budget_table(result.budget)]), plots["budget"])
        sections.append(Section(place="budget", heading="Where the bytes are", blocks=blocks))
    sections.append(Section(place="details", heading="What was read", blocks=blocks_of([diagnosis_facts(result)])))
    return Page(
        verdict=result.verdict,
        numbers=(
            ("first finding", result.findings[0].cause),
            ("confidence", result.findings[0].confidence),
            ("peak allocated", _most([result.peak_allocated_bytes])),
            ("peak reserved", _most([result.peak_reserved_bytes])),
            ("fragmentation", percent(result.fragmentation)),
        ),
        sections=tuple(sections),
        terms=("peak allocated", "peak reserved", "fragmentation", "growth", "died of fragmentation"),
    )


def _as_in_the_terminal(result: Result, plots: Plots) -> Page:
    """For a result that nobody wrote a page for."""
    verdict, *rest = blocks_of(result_parts(result))
    sections = (
        Section(place="sweep", heading="Figures", blocks=tuple(rest)),
        Section(place="timeline", heading="Plots", blocks=tuple(plots.values())),
    )
    return Page(verdict=getattr(verdict, "text", ""), numbers=(), sections=sections, terms=())


def _most(figures: Iterable[int | None]) -> str:
    known = [figure for figure in figures if figure is not None]
    return format_bytes(max(known)) if known else "-"


def _lr(lr: float | None) -> str:
    return "-" if lr is None else format_lr(lr)


PAGES: dict[type, Callable[[Any, Plots], Page]] = {
    RangeTest: _range_test,
    MemSweep: _mem_sweep,
    Replay: _replay,
    Diagnosis: _diagnosis,
}
