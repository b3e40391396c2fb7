"""The page of a range test."""

from collections.abc import Iterator

from lrtool.report.page import Page, Plots, Section, Snippet, blocks_of, some
from lrtool.report.parts import known_lr
from lrtool.report.range_test.batch_scaling import scaling_table
from lrtool.report.range_test.confirming_runs import runs_table
from lrtool.report.range_test.optimizer_tests import optimizers_code, optimizers_facts, optimizers_table
from lrtool.report.range_test.rule_picks import rules_table
from lrtool.report.range_test.tables import answer, code, fact_table, group_table, step_size_note
from lrtool.report.ranks import rank_lines
from lrtool.results import RangeTest

TERMS = ("base_lr", "max_lr", "suggested_lr", "confidence", "interval", "step_size_up", "smoothed loss", "noise")


def range_test_page(result: RangeTest, plots: Plots) -> Page:
    """The two numbers and the line to paste, then the curve they were read from."""
    return Page(
        verdict=answer(result),
        numbers=(
            ("base_lr", known_lr(result.base_lr)),
            ("max_lr", known_lr(result.max_lr)),
            ("suggested_lr (constant)", known_lr(result.suggested_lr)),
            ("confidence", result.confidence),
        ),
        sections=tuple(_sections(result, plots)),
        terms=TERMS,
    )


def _sections(result: RangeTest, plots: Plots) -> Iterator[Section]:
    if result.optimizer_tests:
        code_blocks = blocks_of(optimizers_code(result))
        yield Section(place="snippet", heading="Ready to paste", blocks=code_blocks)
        tables = blocks_of([optimizers_table(result), optimizers_facts(result)])
        yield Section(place="curve", heading="The optimizers", blocks=(*tables, *some(plots, "optimizers")))
    elif result.schedule_line is not None:
        lines = ("from torch.optim.lr_scheduler import CyclicLR", "", *code(result))
        blocks = (Snippet(code="\n".join(lines)), *blocks_of([step_size_note(result)]))
        yield Section(place="snippet", heading="Ready to paste", blocks=blocks)
    if len(result.param_groups) > 1 and result.max_lr is not None:
        blocks = (*blocks_of([group_table(result)]), *some(plots, "groups"))
        yield Section(place="curve", heading="Parameter groups", blocks=blocks)
    yield Section(place="curve", heading="The curve", blocks=(plots["curve"], *blocks_of([fact_table(result)])))
    if result.confirmation is not None and result.confirmation.runs:
        yield Section(place="sweep", heading="Confirming runs", blocks=blocks_of([runs_table(result.confirmation)]))
    if result.batch_scaling is not None:
        blocks = (*blocks_of([scaling_table(result.batch_scaling)]), *some(plots, "scaling"))
        yield Section(place="sweep", heading="Batch sizes", blocks=blocks)
    if result.rules:
        yield Section(place="sweep", heading="Other finders' rules", blocks=blocks_of([rules_table(result)]))
    if result.ranks is not None:
        yield Section(place="budget", heading="The ranks", blocks=blocks_of(rank_lines(result.ranks)))
