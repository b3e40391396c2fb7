"""A range test as lines and tables: the suggested range, why, and what it holds for."""

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from lrtool.report.grid import Column, Facts, Grid, Row, labelled, numbers
from lrtool.report.parts import known_lr
from lrtool.report.range_test.batch_scaling import scaling_sentence, scaling_table
from lrtool.report.range_test.confirming_runs import runs_table
from lrtool.report.range_test.group_tests import groups_text
from lrtool.report.range_test.optimizer_tests import (
    optimizers_code,
    optimizers_facts,
    optimizers_sentence,
    optimizers_table,
)
from lrtool.report.range_test.rule_picks import rules_table
from lrtool.report.ranks import rank_lines
from lrtool.results import RangeTest
from lrtool.units import count_of, format_duration, format_lr

SHOWN_SETTINGS = ("momentum", "nesterov", "beta1", "beta2", "alpha", "weight_decay")
"""Of an optimizer's settings those that move the range; the others are in the JSON."""


MANY_TIMES = 20


def answer(result: RangeTest) -> str:
    """The range test in one sentence."""
    if result.optimizer_tests:
        return optimizers_sentence(result)
    if result.base_lr is None or result.max_lr is None:
        return f"No suggestion: {result.reason}."
    return (
        f"Cycle the learning rate{_of_which(result)} between {format_lr(result.base_lr)} and {format_lr(result.max_lr)} "
        f"(confidence: {result.confidence})."
    )


def _of_which(result: RangeTest) -> str:
    """Of several optimizers the one that it is about."""
    return "" if result.optimizer_name is None else f" of {result.optimizer_name}"


def range_test_lines(result: RangeTest) -> list[RenderableType]:
    """Everything but the closing line."""
    parts: list[RenderableType] = [Text(answer(result), style="bold")]
    if result.optimizer_tests:
        parts += [optimizers_table(result), "", optimizers_facts(result)]
    elif result.max_lr is not None:
        parts += [group_table(result)]
    parts += ["", fact_table(result)]
    if result.ranks is not None:
        parts += ["", *rank_lines(result.ranks)]
    if result.confirmation is not None and result.confirmation.runs:
        parts += ["", runs_table(result.confirmation)]
    if result.optimizer_tests:
        parts += ["", *optimizers_code(result)]
    elif result.schedule_line is not None:
        parts += ["", *(Text(line, style="green") for line in code(result))]
        parts += [Padding(Text(step_size_note(result), style="dim"), 0)]
    if result.batch_scaling is not None:
        parts += ["", scaling_table(result.batch_scaling)]
    if result.rules:
        parts += ["", rules_table(result)]
    return parts


def group_table(result: RangeTest) -> Grid:
    """The suggestion for each parameter group."""
    first = Column(heading="parameter group", wraps="between words")
    rows = []
    for number, group in enumerate(result.param_groups):
        name = "all" if len(result.param_groups) == 1 else group_name(result, number)
        if result.group_tests:
            name = f"{name} ({result.group_tests[number].num_parameters:,} parameters)"
        rows.append(Row(cells=(name, *map(known_lr, (group.base_lr, group.max_lr, group.suggested_lr)))))
    return Grid(columns=(first, *numbers("base_lr", "max_lr", "suggested_lr (constant)")), rows=tuple(rows))


def group_name(result: RangeTest, number: int) -> str:
    """Its place, and what the framework calls it."""
    return f"{number} {result.group_names[number]}" if result.group_names else str(number)


def fact_table(result: RangeTest) -> Facts:
    """Why to believe it, as label and text; the text is folded under itself."""
    advice = [("try", result.advice)] if result.advice else []
    steps = f"{count_of(result.num_steps, 'step')}{_epochs(result)}"
    ended = f"{result.stop_reason}; {steps}, {format_duration(result.duration_s)}"
    groups = [("groups", groups_text(result))] if result.group_tests else []
    scaling = [("scaling", scaling_sentence(result.batch_scaling))] if result.batch_scaling is not None else []
    facts = [("why", result.reason), *advice, ("rule", result.rule), *_interval(result), ("ended", ended)]
    if result.optimizer_tests:  # the others end in their own way, and the reasons stand above
        facts = [("rule", result.rule)]
    elif result.optimizer_name is not None:
        about = f"{result.optimizer_name}, judged by its own loss; the others kept the LRs that build() gave them"
        facts = [("optimizer", about), *facts]
    return labelled([*facts, *groups, ("holds for", _holds_for(result)), *scaling])


def _epochs(result: RangeTest) -> str:
    """How often the ramp saw each sample, where that is so often that the data must be few."""
    times = 0.0 if not result.steps_per_epoch else len(result.curve.lr) / result.steps_per_epoch
    return f" (the ramp saw each sample {times:.0f} times)" if times >= MANY_TIMES else ""


def _interval(result: RangeTest) -> list[tuple[str, str]]:
    if result.max_lr_interval is None:
        return []
    low, high = format_lr(result.max_lr_interval.low), format_lr(result.max_lr_interval.high)
    how = "as the curve's noise moves it" if result.confirmation is None else "half the spacing of the runs"
    return [("interval", f"max_lr {low} to {high}: {how}")]


def _holds_for(result: RangeTest) -> str:
    """The training that was measured: another optimizer setting or batch size has another range."""
    settings = ", ".join(
        f"{name.replace('_', ' ')} {_values(values)}"
        for name in SHOWN_SETTINGS
        if any(values := result.optimizer_settings.get(name, ())) or (values and name == "weight_decay")
    )
    batch = "" if result.batch_size is None else f", batch size {result.batch_size}"
    named = f"{result.optimizer} ({settings})" if settings else result.optimizer
    return f"{named}{batch}, on {result.device}, as {result.target} sets it up"


def _values(values: tuple[float, ...]) -> str:
    """One number where all groups have the same, else one for each."""
    return f"{values[0]:g}" if len(set(values)) == 1 else " / ".join(f"{value:g}" for value in values)


def code(result: RangeTest) -> tuple[str, ...]:
    """What to paste; of results that were stored without it, the line that sets up the cycle."""
    return result.snippet or (f"scheduler = {result.schedule_line}",)


def step_size_note(result: RangeTest) -> str:
    """How step_size_up was chosen."""
    if result.step_size_up is None or result.steps_per_epoch is None:
        return "step_size_up: the loader does not know its length; 2 to 10 epochs of steps are usual"
    epochs = result.step_size_up // result.steps_per_epoch
    return f"step_size_up: {epochs} epochs of {count_of(result.steps_per_epoch, 'step')}; 2 to 10 are usual"
