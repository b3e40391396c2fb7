"""The evidence under a sweep's verdict: one line each, a name and what is known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lrtool.memory.growth import device_allocs_per_step
from lrtool.results import GrowthSource, Recorder, StepSeries, Trial
from lrtool.sweep.comparison import STEP_SIZE, Difference, Effect, differing_axes, order_of, value_of
from lrtool.sweep.trend import Trend, oom_step
from lrtool.sweep.wording import at_step, bytes_per_step, count, format_rate, shown_value, source_text
from lrtool.units import format_bytes

MAX_SOURCES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All that a verdict rests on; `course` is the group of trials that its sentence is about."""

    recorder: Recorder | None
    pairs: tuple[Difference, ...]
    difference: Difference | None
    noise: Difference | None
    effects: tuple[Effect, ...]
    course: Trend | None
    courses: tuple[Trend, ...]
    capacity_bytes: int | None


def evidence_lines(found: Findings, trials: Sequence[Trial], series: Mapping[int, StepSeries]) -> tuple[str, ...]:
    """Every line, most telling first."""
    lines = [*_equal_steps(found)]
    for course in sorted(found.courses, key=lambda course: course is not found.course):
        lines += _trend_lines(course, found)
    lines += [*_effect_lines(found), *_fragmentation(trials), *_device_calls(trials, series)]
    lines += [*_order(found, trials), *_other_processes(trials), *_unfinished(trials)]
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


def _trend_lines(course: Trend, found: Findings) -> Iterator[str]:
    name = "" if len(found.courses) == 1 else f" of {_group_name(course, found)}"
    growth = course.growth
    if growth is not None:
        low, high = format_rate(growth.low_bytes_per_step), format_rate(growth.high_bytes_per_step)
        period = "" if growth.period_steps == 1 else f", compared {growth.period_steps:,} steps apart"
        yield (
            f"growth{name}: {bytes_per_step(growth.bytes_per_step)} (95 %: {low} to {high}), "
            f"{growth.warmup_steps:,} warm-up {'step' if growth.warmup_steps == 1 else 'steps'} left out{period}"
        )
    yield from (f"grows{name}: {_source_line(source)}" for source in course.sources[:MAX_SOURCES])
    yield from _capacity_line(course, found, name)


def _group_name(course: Trend, found: Findings) -> str:
    """What a group has that not all have: its values on the axes that vary."""
    condition = course.trials[0].condition
    others = (other.trials[0].condition for other in found.courses)
    axes = sorted({axis for other in others for axis in differing_axes(condition, other)} - STEP_SIZE)
    return ", ".join(f"{axis} {value_of(condition, axis)}" for axis in axes)


def _source_line(source: GrowthSource) -> str:
    held = f", held by {source.container}" if source.container else ""
    return f"{bytes_per_step(source.bytes_per_step)} from {source_text(source)}{held}"


def _capacity_line(course: Trend, found: Findings, name: str) -> Iterator[str]:
    if course.forecast_step is None:
        return
    room = "memory" if found.capacity_bytes is None else format_bytes(found.capacity_bytes)
    if course.ooms and oom_step(course.ooms[0]) == course.forecast_step:
        how = f"the {course.ooms[0].condition.step_size_up} run ran out of memory there"
    else:
        how = f"continued from the {course.longest.condition.step_size_up} run" if course.longest else ""
    yield f"capacity{name}: {room} reached at step {course.forecast_step:,}; {how}"


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


def _unfinished(trials: Sequence[Trial]) -> Iterator[str]:
    for trial in trials:
        if trial.status != "ok":
            yield f"run {trial.number} (step size {trial.condition.step_size_up}): {_ending(trial)}"


def _ending(trial: Trial) -> str:
    if trial.status != "oom":
        message = f": {trial.message}" if trial.message else ""
        return f"{trial.status} after {count(trial.num_steps_done, 'step')}{message}"
    request = trial.death.request_bytes if trial.death else None
    asked = f", asking for {format_bytes(request)}" if request is not None else ""
    where = f" at {trial.death.source}" if trial.death and trial.death.source else ""
    cause = _CAUSES[trial.death.cause] if trial.death and trial.death.cause else ""
    return f"out of memory {at_step(oom_step(trial))}{asked}{where}{cause}"


_CAUSES = {
    "capacity": "; cause: capacity",
    "fragmentation": "; cause: fragmentation, as in one piece the free memory would have been enough",
}
