"""A run condensed: for each of its conditions the figures that can be gated, and what must agree for them to compare."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from lrtool.errors import UsageError
from lrtool.results import (
    Case,
    Figure,
    Gated,
    MemSweep,
    PeakInterval,
    RangeTest,
    Replay,
    ReplayRow,
    Result,
    Run,
    RunSummary,
    StepGrowth,
    Trial,
    is_measured,
    metrics_of,
)
from lrtool.units import format_bytes

_TRIAL_FIGURES = {metric.name: field for field, metric in metrics_of(Trial).items() if not metric.is_estimate}
_ROW_FIGURES = {
    "peak_allocated": "peak_allocated_bytes",
    "peak_active": "peak_active_bytes",
    "peak_reserved": "peak_reserved_bytes",
    "peak_requested": "peak_requested_bytes",
    "fragmentation": "fragmentation",
    "split_fragmentation": "split_fragmentation",
    "alloc_retries": "num_alloc_retries",
}
_UPPER_ENDS: Mapping[str, Callable[[PeakInterval], int]] = {
    "peak_allocated": lambda interval: interval.high_allocated_bytes,
    "peak_reserved": lambda interval: interval.high_reserved_bytes,
}
MEASURES = {
    "mem-sweep": {*_TRIAL_FIGURES, "growth", "out_of_memory"},
    "replay": {*_ROW_FIGURES, "out_of_memory"},
    "range-test": {"best_loss", "base_lr", "max_lr", "suggested_lr"},
}
"""The metrics that each command's runs can have."""
_RAMP = ("start_lr", "end_lr", "num_steps", "mode")


def summarize(run: Run[Result]) -> RunSummary:
    """Condense a run. Raises UsageError where its command measures nothing that can be gated."""
    result = run.result
    if isinstance(result, MemSweep):
        facts, cases = _sweep_facts(run, result), list(map(_trials_case, trials_of(result)))
    elif isinstance(result, Replay):
        facts, cases = {"recorder": "replay", "target": _portable(result.trace)}, list(map(_row_case, result.rows))
    elif isinstance(result, RangeTest):
        facts, cases = _range_test_facts(run, result), [_range_test_case(run, result)]
    else:
        raise UsageError(
            f"a run of `lrtool {run.command}` has no figures that can be gated",
            hint="take a run of mem-sweep, replay or range-test",
        )
    return RunSummary(
        command=cast(Gated, run.command),
        created=run.created,
        lrtool=run.environment.lrtool,
        facts=facts,
        cases=tuple(cases),
    )


def _sweep_facts(run: Run[Result], result: MemSweep) -> dict[str, str]:
    """A prediction depends on torch's code, which all its builds share; a measurement on the build and the GPU too."""
    environment = run.environment
    facts = {"recorder": result.recorder, "target": _portable(result.target)}
    if is_measured(result.recorder):
        facts["GPU"] = environment.device_name or "unknown"
        facts["torch"], facts["CUDA"] = environment.torch, environment.cuda or "unknown"
        facts["allocator variable"] = environment.allocator_settings or "none"
        return facts
    facts["GPU"] = _predicted_gpu(run, result)
    facts["capacity"] = "none" if result.capacity_bytes is None else format_bytes(result.capacity_bytes)
    facts["torch"] = environment.torch.partition("+")[0]
    return facts


def _predicted_gpu(run: Run[Result], result: MemSweep) -> str:
    own = run.settings.get("mem_sweep", {})
    return str(own.get("gpu") or result.card or "unknown")


def _range_test_facts(run: Run[Result], result: RangeTest) -> dict[str, str]:
    device = run.environment.device_name if result.device != "cpu" else None
    return {
        "recorder": "training",
        "target": _portable(result.target),
        "device": device or result.device,
        "torch": run.environment.torch.partition("+")[0],
    }


def _portable(target: str) -> str:
    """The target without the folders that differ from machine to machine: relative to this one, else its bare name."""
    path = Path(target)
    if not path.is_absolute():
        return path.as_posix()
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name


def trials_of(result: MemSweep) -> list[list[Trial]]:
    """The trials of each case, in the order of the cases: those of one condition and length together."""
    by_condition: dict[str, list[Trial]] = {}
    for trial in sorted(result.trials, key=lambda trial: trial.number):
        by_condition.setdefault(repr((trial.condition, trial.num_steps)), []).append(trial)
    return list(by_condition.values())


def _trials_case(trials: Sequence[Trial]) -> Case:
    """Repeats of one condition; what it consists of is that of the repeat with the highest peak."""
    highest = max(trials, key=lambda trial: trial.max_memory_allocated_bytes or 0)
    ended_badly = [trial for trial in trials if trial.status != "ok"]
    figures = dict(_figures({name: [getattr(t, field) for t in trials] for name, field in _TRIAL_FIGURES.items()}))
    for name, highest_of in _UPPER_ENDS.items():
        ends = [highest_of(trial.peak_interval) for trial in trials if trial.peak_interval is not None]
        if ends and name in figures:
            figures[name] = replace(figures[name], high=max(ends))
    growth = _growth_figure([trial.growth for trial in trials if trial.growth is not None])
    return Case(
        condition=_condition(trials[0]),
        status=_status(ended_badly),
        trouble=_trouble(ended_badly),
        num_repeats=len(trials),
        figures={
            **figures,
            **({} if growth is None else {"growth": growth}),
            "out_of_memory": Figure(value=sum(trial.status == "oom" for trial in trials)),
        },
        peak_shares=highest.peak_shares,
        growth_sources=next((t.growth_sources for t in (highest, *trials) if t.growth_sources), ()),
    )


def _condition(trial: Trial) -> dict[str, str]:
    """Flat, as text: what was varied, build()'s arguments under their own names."""
    own = asdict(trial.condition)
    params = own.pop("params")
    named = {**own, **params, "num_steps": trial.num_steps}
    return {name: "default" if value in (None, "") else str(value) for name, value in named.items()}


def _status(ended_badly: Sequence[Trial]) -> Any:
    """Memory that ran out is a measurement, and outweighs a repeat that failed otherwise."""
    if any(trial.status == "oom" for trial in ended_badly):
        return "oom"
    return "failed" if ended_badly else "ok"


def _trouble(ended_badly: Sequence[Trial]) -> str | None:
    dead = next((trial for trial in ended_badly if trial.status == "oom"), None)
    if dead is not None:
        at = "" if dead.death is None else f" at step {dead.death.step:,} of {dead.num_steps:,}"
        return f"out of memory{at}"
    first = next(iter(ended_badly), None)
    return None if first is None else f"{first.status}{f': {first.message}' if first.message else ''}"


def _figures(values: Mapping[str, Sequence[float | None]]) -> Iterator[tuple[str, Figure]]:
    for name, all_values in values.items():
        known = [value for value in all_values if value is not None]
        if known:
            yield name, _figure(known)


def _figure(values: Sequence[float]) -> Figure:
    return Figure(value=max(values), noise=max(values) - min(values) if len(values) > 1 else None)


def _growth_figure(growths: Sequence[StepGrowth]) -> Figure | None:
    """Of repeats the one that grows most surely."""
    surest = max(growths, key=lambda growth: growth.low_bytes_per_step, default=None)
    if surest is None:
        return None
    return Figure(value=surest.bytes_per_step, noise=surest.bytes_per_step - surest.low_bytes_per_step)


def _row_case(row: ReplayRow) -> Case:
    capacity = "none" if row.capacity_bytes is None else format_bytes(row.capacity_bytes)
    is_oom = row.outcome == "oom"
    request = "" if row.death is None else f" at request {row.death.request + 1:,}"
    return Case(
        condition={
            "settings": row.settings or "default",
            "capacity": capacity,
            "torch": row.torch,
            "caching": "on" if row.caching else "off",
        },
        status="ok" if row.outcome == "ok" else "oom" if is_oom else "failed",
        trouble=f"out of memory{request}" if is_oom else f"an error{request}" if row.outcome == "error" else None,
        figures={
            **dict(_figures({name: [getattr(row, field)] for name, field in _ROW_FIGURES.items()})),
            "out_of_memory": Figure(value=int(is_oom)),
        },
    )


def _range_test_case(run: Run[Result], result: RangeTest) -> Case:
    ramp = run.settings.get("range_test", {})
    params = run.settings.get("params", {})
    condition = {**{name: ramp[name] for name in _RAMP if name in ramp}, **params}
    has_ended = result.stopped not in ("interrupted", "failed")
    lrs = {"base_lr": result.base_lr, "max_lr": result.max_lr, "suggested_lr": result.suggested_lr}
    losses = [min(curve.smoothed_loss, default=None) for curve in result.repeats or (result.curve,)]
    return Case(
        condition={name: str(value) for name, value in condition.items()},
        status="ok" if has_ended else "failed",
        trouble=None if has_ended else result.stop_reason,
        num_repeats=max(1, len(result.repeats)),
        figures=dict(_figures({"best_loss": losses, **{name: [lr] for name, lr in lrs.items()}})),
    )
