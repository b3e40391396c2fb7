"""A sweep as lines and tables: the verdict, a row for each trial, the evidence, and what was swept."""

from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console, RenderableType
from rich.text import Text

from lrtool.report.assumptions import assumption_rows, card_rows, device_rows, peak_rows
from lrtool.report.grid import Column, Facts, Grid, Row, Tone, labelled, numbers
from lrtool.report.parts import known_bytes
from lrtool.report.ranks import rank_lines
from lrtool.report.sweep.columns import MetricColumn, columns_of
from lrtool.results import Category, Condition, MemSweep, Recorder, Trial, TrialStatus
from lrtool.results.mem_sweep import AXES
from lrtool.results.schedules import shown_setting
from lrtool.units import count_of, format_bytes, format_duration, format_lr, three_digits

HOW_KNOWN: dict[Recorder, str] = {"cuda": "measured", "predicted": "predicted", "cpu": "from CPU"}
"""Stands on every line with a figure."""
STATUS: dict[TrialStatus, str] = {
    "ok": "ok", "oom": "OOM", "failed": "failed", "killed": "killed", "timeout": "timeout", "interrupted": "stopped",
}  # fmt: skip
MAX_WIDTH = 80
LONGEST_S = 99 * 60.0
"""No duration is written with more characters."""
_AXES = tuple(name for name in AXES if name not in ("step_size_up", "step_size_down"))


def sweep_lines(result: MemSweep) -> list[RenderableType]:
    """Everything but the closing line."""
    verdict = Text(result.verdict.text, style="bold")
    return [verdict, *trial_parts(result), *rank_parts(result), "", evidence_table(result), "", setup_table(result)]


def trial_parts(result: MemSweep) -> list[RenderableType]:
    """All trials, in a table for each group of them."""
    if is_about_ranks(result):
        return ["", scaling_table(result)]
    parts: list[RenderableType] = []
    for name, trials in groups_of(result.trials):
        parts += ["", *([Text(name)] if name else []), trial_table(trials)]
    return parts


def rank_parts(result: MemSweep) -> list[RenderableType]:
    """The ranks of every trial that was spread over several processes."""
    parts: list[RenderableType] = []
    for trial in result.trials:
        if trial.ranks is not None:
            parts += ["", Text(f"ranks of the {step_size_name(trial.condition)} run"), *rank_lines(trial.ranks)]
    return parts


def groups_of(trials: tuple[Trial, ...]) -> list[tuple[str, list[Trial]]]:
    """Trials by what they have on the axes that vary, apart from step size and repeat; "" where nothing else varies."""
    varying = [axis for axis in _axes(trials) if len({repr(_value(t.condition, axis)) for t in trials}) > 1]
    found: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda t: (t.condition.step_size_up, t.condition.step_size_down, t.repeat)):
        found.setdefault(", ".join(_named(trial.condition, axis) for axis in varying), []).append(trial)
    return sorted(found.items(), key=lambda item: min(trial.number for trial in item[1]))


def step_size_name(condition: Condition) -> str:
    """Both halves of the cycle where they differ."""
    up, down = condition.step_size_up, condition.step_size_down
    return f"{up}" if up == down else f"{up}+{down}"


def _axes(trials: tuple[Trial, ...]) -> list[str]:
    return [*_AXES, *dict.fromkeys(name for trial in trials for name in trial.condition.params)]


def _value(condition: Condition, axis: str) -> object:
    return getattr(condition, axis) if axis in _AXES else condition.params.get(axis)


def _named(condition: Condition, axis: str) -> str:
    value = _value(condition, axis)
    return f"{axis} {'default' if value in ('', None) else shown_setting(value)}"


def trial_table(trials: list[Trial]) -> Grid:
    """A row for each trial of a group; without its optional columns where they would make it too wide."""
    columns = columns_of(trials)
    slow = [replace(trial, duration_s=LONGEST_S) for trial in trials]  # a slow machine must not change what is shown
    if Console(width=2 * MAX_WIDTH).measure(_trial_table(slow, columns)).maximum > MAX_WIDTH:
        columns = [column for column in columns if not column.shown.is_optional]
    return _trial_table(trials, columns)


def _trial_table(trials: list[Trial], columns: list[MetricColumn]) -> Grid:
    repeated = any(trial.repeat for trial in trials)
    shown = (
        *numbers("step\nsize", *(["\n#"] if repeated else []), "\nsteps"),
        Column(heading="\nstatus", min_width=6),
        Column(heading="\nfigures", min_width=9),
        *(Column(heading=each.shown.heading, is_number=True, min_width=each.width) for each in columns),
        *numbers("\ntime", min_width=6),
    )
    rows = (Row(cells=_cells(trial, columns, repeated=repeated), tone=_tone(trial)) for trial in trials)
    return Grid(columns=shown, rows=tuple(rows), gap=0)


def _tone(trial: Trial) -> Tone:
    return "plain" if trial.status == "ok" else "bad"


def _cells(trial: Trial, columns: list[MetricColumn], *, repeated: bool) -> tuple[str, ...]:
    return (
        step_size_name(trial.condition),
        *([str(trial.repeat + 1)] if repeated else []),
        f"{trial.num_steps_done:,}",
        STATUS[trial.status],
        HOW_KNOWN[trial.recorder],
        *(column.text(trial) for column in columns),
        _short_duration(trial.duration_s),
    )


def evidence_table(result: MemSweep) -> Facts:
    """What the verdict rests on, and how each line is known."""
    return labelled([(HOW_KNOWN[result.recorder], line) for line in result.verdict.evidence])


def setup_table(result: MemSweep) -> Facts:
    """What was swept, and for which device."""
    card = f" ({result.card})" if result.card else ""
    room = "not limited" if result.capacity_bytes is None else f"{format_bytes(result.capacity_bytes)}{card}"
    return labelled(
        [
            ("figures", f"{HOW_KNOWN[result.recorder]}: {result.recorder_reason}"),
            ("capacity", room),
            ("cycle", _cycle(result)),
            *_assumed(result),
            (
                "swept",
                f"{result.target}, {count_of(len(result.trials), 'trial')} in {format_duration(result.duration_s)}",
            ),
        ]
    )


def _assumed(result: MemSweep) -> Iterator[tuple[str, str]]:
    """What the trial with the highest peak took for granted: the others ask the same, step by step."""
    highest = max(result.trials, key=lambda trial: trial.max_memory_reserved_bytes or 0)
    yield from device_rows(highest.devices)
    if highest.status == "ok":
        yield from peak_rows(highest.max_memory_reserved_bytes, highest.peak_interval)
        yield from card_rows(highest.on_card)
    yield from assumption_rows(highest.assumptions)


def _cycle(result: MemSweep) -> str:
    if result.base_lr is None or result.max_lr is None:
        return f"from {result.lr_source}"
    return f"{format_lr(result.base_lr)} to {format_lr(result.max_lr)}, from {result.lr_source}"


def _short_duration(seconds: float) -> str:
    """At most eight characters, where `format_duration` takes more."""
    if seconds < 60:
        return format_duration(seconds)
    return f"{three_digits(seconds / 60)} min" if seconds < 5970 else f"{three_digits(seconds / 3600)} h"


COLUMNS = {
    "param.": (Category.PARAMETER,),
    "grad.": (Category.GRADIENT,),
    "optim.": (Category.OPTIMIZER_STATE,),
    "buckets": (Category.GRADIENT_BUCKET, Category.COMMUNICATION_BUFFER, Category.UNSHARDED_PARAMETER),
    "activ.": (Category.ACTIVATION,),
}
"""Categories by column: this rank's part of what can be sharded, buffers for the exchange, and what cannot be sharded."""


def is_about_ranks(result: MemSweep) -> bool:
    return any(trial.condition.world_size is not None for trial in result.trials)


def scaling_table(result: MemSweep) -> Grid:
    """One line for each number of ranks and way to shard: the most bytes per rank of each category, and the peaks."""
    figures = numbers(*COLUMNS, "peak alloc.", "reserved", min_width=8)
    rows = (Row(cells=tuple(_scaling_row(trial)), tone=_tone(trial)) for trial in sorted(result.trials, key=_place))
    return Grid(columns=(*numbers("ranks"), Column(heading="shard"), *figures), rows=tuple(rows), gap=0)


def _place(trial: Trial) -> tuple[str, int, int]:
    return trial.condition.shard, trial.condition.world_size or 1, trial.number


def _scaling_row(trial: Trial) -> list[str]:
    parts = [sum(trial.most_by_category.get(name, 0) for name in names) for names in COLUMNS.values()]
    known = parts if trial.most_by_category else [None] * len(parts)
    figures = (*known, trial.max_memory_allocated_bytes, trial.max_memory_reserved_bytes)
    status = "" if trial.status == "ok" else f" {trial.status}"
    return [
        f"{trial.condition.world_size or 1:,}",
        f"{trial.condition.shard}{status}",
        *map(known_bytes, figures),
    ]
