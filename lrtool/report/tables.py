"""Results as lines and tables for a terminal of 80 columns: the answer first, where it was written last."""

from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lrtool.report.compare_tables import comparison_lines
from lrtool.report.diagnosis_tables import diagnosis_lines
from lrtool.report.doctor_tables import doctor_lines
from lrtool.report.files import MAIN_PLOT
from lrtool.report.labels import labelled
from lrtool.report.rank_tables import rank_lines
from lrtool.report.replay_tables import replay_lines
from lrtool.report.sweep_tables import sweep_lines
from lrtool.results import Comparison, Diagnosis, Doctor, RangeTest, Replay, Result, Run
from lrtool.units import format_duration, format_lr


def render(run: Run[Result], *, run_dir: Path | None, page: Path | None = None) -> list[RenderableType]:
    """A run as it is shown in the terminal, in order; `run_dir` is None where nothing could be written, and `page` is
    its report page where that was.
    """
    closing = _closing(run_dir, MAIN_PLOT[run.command]) if page is None else f"Wrote {page}. Next: open it in a browser"
    return [*result_parts(run.result), "", closing]


def result_parts(result: Result) -> list[RenderableType]:
    """What is shown of a result, its answer first."""
    if isinstance(result, RangeTest):
        return _range_test(result)
    if isinstance(result, Replay):
        return replay_lines(result)
    if isinstance(result, Diagnosis):
        return diagnosis_lines(result)
    if isinstance(result, Doctor):
        return doctor_lines(result)
    if isinstance(result, Comparison):
        return comparison_lines(result)
    return sweep_lines(result)


def answer(result: RangeTest) -> str:
    """The range test in one sentence."""
    if result.base_lr is None or result.max_lr is None:
        return f"No suggestion: {result.reason}."
    return (
        f"Cycle the learning rate between {format_lr(result.base_lr)} and {format_lr(result.max_lr)} "
        f"(confidence: {result.confidence})."
    )


def _range_test(result: RangeTest) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(answer(result), style="bold")]
    if result.max_lr is not None:
        parts += [group_table(result)]
    parts += ["", fact_table(result)]
    if result.ranks is not None:
        parts += ["", *rank_lines(result.ranks)]
    if result.schedule_line is not None:
        line, note = (
            Text(f"scheduler = {result.schedule_line}", style="green"),
            Text(step_size_note(result), style="dim"),
        )
        parts += ["", line, Padding(note, 0)]
    return parts


def group_table(result: RangeTest) -> Table:
    """The suggestion for each parameter group."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2))
    table.add_column("parameter group")
    for heading in ("base_lr", "max_lr", "suggested_lr (constant)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, group in enumerate(result.param_groups):
        name = "all" if len(result.param_groups) == 1 else str(number)
        table.add_row(name, *(_lr(lr) for lr in (group.base_lr, group.max_lr, group.suggested_lr)))
    return table


def fact_table(result: RangeTest) -> Table:
    """Why to believe it, as label and text; the text is folded under itself."""
    advice = [("try", result.advice)] if result.advice else []
    ended = f"{result.stop_reason}; {result.num_steps} steps, {format_duration(result.duration_s)}"
    held = f"{result.optimizer} on {result.device}, as {result.target} sets it up"
    return labelled([("why", result.reason), *advice, ("rule", result.rule), ("ended", ended), ("held for", held)])


def step_size_note(result: RangeTest) -> str:
    """How step_size_up was chosen."""
    if result.step_size_up is None or result.steps_per_epoch is None:
        return "step_size_up: the loader does not know its length; 2 to 10 epochs of steps are usual"
    epochs = result.step_size_up // result.steps_per_epoch
    return f"step_size_up: {epochs} epochs of {result.steps_per_epoch} steps; 2 to 10 are usual"


def _closing(run_dir: Path | None, plot: str) -> str:
    if run_dir is None:
        return "Nothing was written."
    return f"Wrote {run_dir / plot}. Next: lrtool report {run_dir}"


def _lr(lr: float | None) -> str:
    return "-" if lr is None else format_lr(lr)
