"""The evidence under a sweep's verdict: one line each, a name and what is known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lrtool.memory.growth import device_allocs_per_step, is_growing
from lrtool.results import GrowthSource, Recorder, StepGrowth, StepSeries, Trial
from lrtool.sweep.comparison import STEP_SIZE, Difference, Effect, differing_axes, order_of, value_of
from lrtool.sweep.trend import Trend, growth_of, oom_step
from lrtool.sweep.wording import at_step, bytes_per_step, count, format_rate, shown_value
from lrtool.units import format_bytes

MAX_SOURCES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All that a verdict rests on; `trend` is the group of trials that its sentence is about."""

    recorder: Recorder | None
    pairs: tuple[Difference, ...]
    difference: Difference | None
    noise: Difference | None
    effects: tuple[Effect, ...]
    trend: Trend | None
    trends: tuple[Trend, ...]
    capacity_bytes: int | None


def evidence_lines(found: Findings, trials: Sequence[Trial], series: Mapping[int, StepSeries]) -> tuple[str, ...]:
    """Every line, most telling first."""
    lines = [*_equal_steps(found)]
    for trend in sorted(found.trends, key=lambda trend: trend is not found.trend):
        lines += _trend_lines(trend, found)
    lines += [*_effect_lines(found), *_fragmentation(trials), *_device_calls(trials, series)]
    lines += [*_order(found, trials), *_other_processes(trials), *_unfinished(found, trials, series)]
    return tuple(lines)


def _equal_steps(found: Findings) -> Iterator[str]:
    difference = found.difference
    if difference is None:
        return
    where = f" ({difference.figure}, step {difference.step:,})" if difference.bytes else ""
    yield (
        f"equal steps: largest difference {format_bytes(difference.bytes)}{where}, over up to "
        f"{max(pair.num_shared_steps for pair in found.pairs):,} shared steps of {count(len(found.pairs), 'pair')} of runs"
    )
    if found.noise is not None:
        yield f"noise: repeats of one run differ by at most {format_bytes(found.noise.bytes)}"
    elif difference.bytes:
        yield "noise: not known, as no run was repeated; --repeats 2 tells"


def _trend_lines(trend: Trend, found: Findings) -> Iterator[str]:
    name = "" if len(found.trends) == 1 else f" of {_group_name(trend, found)}"
    growth = trend.growth
    if growth is not None:
        low, high = format_rate(growth.low_bytes_per_step), format_rate(growth.high_bytes_per_step)
        period = "" if growth.period_steps == 1 else f", compared {growth.period_steps:,} steps apart"
        yield (
            f"growth{name}: {bytes_per_step(growth.bytes_per_step)} (95 %: {low} to {high}), "
            f"{growth.warmup_steps:,} warm-up {'step' if growth.warmup_steps == 1 else 'steps'} left out{period}"
        )
    yield from (f"grows{name}: {_source_line(source)}" for source in trend.sources[:MAX_SOURCES])
    yield from _capacity_line(trend, found, name)


def _group_name(trend: Trend, found: Findings) -> str:
    """What a group has that not all have: its values on the axes that vary."""
    condition = trend.trials[0].condition
    others = (other.trials[0].condition for other in found.trends)
    axes = sorted({axis for other in others for axis in differing_axes(condition, other)} - STEP_SIZE)
    return ", ".join(f"{axis} {shown_value(value_of(condition, axis))}" for axis in axes)


def _source_line(source: GrowthSource) -> str:
    held = f", held by {source.container}" if source.container else ""
    return f"{bytes_per_step(source.bytes_per_step)} from {source.text}{held}"


def _capacity_line(trend: Trend, found: Findings, name: str) -> Iterator[str]:
    if trend.forecast_step is None:
        return
    room = "memory" if found.capacity_bytes is None else format_bytes(found.capacity_bytes)
    if trend.ooms and oom_step(trend.ooms[0]) == trend.forecast_step:
        how = f"the {trend.ooms[0].condition.step_size_up} run ran out of memory there"
    else:
        how = f"continued from the {trend.longest.condition.step_size_up} run" if trend.longest else ""
    yield f"capacity{name}: {room} reached at step {trend.forecast_step:,}; {how}"


def _effect_lines(found: Findings) -> Iterator[str]:
    for effect in found.effects:
        yield (
            f"{effect.axis}: from {shown_value(effect.one)} to {shown_value(effect.other)} peak allocated changes by "
            f"{format_bytes(effect.allocated_bytes)}, peak reserved by {format_bytes(effect.reserved_bytes)}"
        )


def _fragmentation(trials: Sequence[Trial]) -> Iterator[str]:
    ratios = [trial.fragmentation for trial in trials if trial.fragmentation is not None]
    if ratios:
        low, high = (f"{100 * ratio:.2g}%" for ratio in (min(ratios), max(ratios)))
        spread = low if low == high else f"{low} to {high}"
        yield f"fragmentation: {spread} of peak reserved memory was never active at once"


def _device_calls(trials: Sequence[Trial], series: Mapping[int, StepSeries]) -> Iterator[str]:
    rates = [rate for trial in trials if (rate := _device_rate(trial, series.get(trial.number))) is not None]
    if rates:
        yield f"device allocations after warm-up: {max(rates):.3g} per step{' at most' if max(rates) else ''}"


def _device_rate(trial: Trial, steps: StepSeries | None) -> float | None:
    if steps is None:
        return trial.device_allocs_per_step
    return device_allocs_per_step(
        steps.num_device_allocs, warmup_steps=trial.growth.warmup_steps if trial.growth else 2
    )


def _order(found: Findings, trials: Sequence[Trial]) -> Iterator[str]:
    order = order_of(trials)
    if order is None:
        if found.difference is not None and found.difference.bytes == 0:
            yield "order: without effect, as runs at different places agree at every shared step"
        elif len(trials) > 1:
            yield "order: not told apart from the conditions, as no run was repeated; --repeats 2 tells"
    elif order.max_bytes == 0:
        yield "order: without effect, repeats peak the same wherever they ran; nothing is left over between runs"
    else:
        yield (
            f"order: of {count(order.num_pairs, 'pair')} of repeats that differ, the later one peaks higher in "
            f"{order.num_later_higher} of them, by at most {format_bytes(order.max_bytes)}"
        )


def _other_processes(trials: Sequence[Trial]) -> Iterator[str]:
    held = [trial.other_processes_bytes for trial in trials if trial.other_processes_bytes]
    if held:
        yield f"other processes: held {format_bytes(min(held))} to {format_bytes(max(held))} of the device"


def _unfinished(found: Findings, trials: Sequence[Trial], series: Mapping[int, StepSeries]) -> Iterator[str]:
    for trial in trials:
        if trial.status != "ok":
            ending = _ending(trial, _growth(trial, found, series))
            yield f"run {trial.number} (step size {trial.condition.step_size_up}): {ending}"


def _growth(trial: Trial, found: Findings, series: Mapping[int, StepSeries]) -> StepGrowth | None:
    """Growth that is proven: the trial's own, else that of its group, whose forecast it has met."""
    own = growth_of(trial, series.get(trial.number))
    if is_growing(own):
        return own
    groups = (trend for trend in found.trends if trend.is_growing and trial in trend.ooms)
    return next((trend.growth for trend in groups if trend.forecast_step == oom_step(trial)), None)


def _ending(trial: Trial, growth: StepGrowth | None) -> str:
    if trial.status != "oom":
        message = f": {trial.message}" if trial.message else ""
        return f"{trial.status} after {count(trial.num_steps_done, 'step')}{message}"
    request = trial.death.request_bytes if trial.death else None
    asked = f", asking for {format_bytes(request)}" if request is not None else ""
    where = f" at {trial.death.source}" if trial.death and trial.death.source else ""
    cause = trial.death.cause if trial.death else None
    if growth is not None:  # it fills any device: of what the last request died is no cause
        told = f"; cause: growth of {bytes_per_step(growth.bytes_per_step)}{_FOOTNOTES.get(cause or '', '')}"
        return f"out of memory {at_step(oom_step(trial))}{asked}{where}{told}"
    told = _CAUSES[cause] if cause else ""
    return f"out of memory {at_step(oom_step(trial))}{asked}{where}{told}"


_FOOTNOTES = {"fragmentation": " (at that request, the free memory would still have been enough in one piece)"}
_CAUSES = {
    "capacity": "; cause: capacity",
    "fragmentation": "; cause: fragmentation, as in one piece the free memory would have been enough",
}
