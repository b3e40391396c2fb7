"""How far trials of a sweep lie apart at equal step numbers: between step sizes, between repeats, along other axes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lrtool.results import Condition, StepSeries, Trial
from lrtool.results.mem_sweep import AXES

FIGURES = {
    "allocated": "allocated_bytes",
    "active": "active_bytes",
    "reserved": "reserved_bytes",
    "peak allocated": "peak_allocated_bytes",
}
"""What is compared step by step, by the name it goes under."""

Axes = frozenset[str]
STEP_SIZE: Axes = frozenset({"step_size_up", "step_size_down"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The largest distance of two trials at one step, over the steps that both have; steps count from 1."""

    bytes: int
    figure: str
    step: int
    num_shared_steps: int
    one: Trial
    other: Trial
    peak_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What another axis does to the peaks of two trials that differ in nothing else: those of `other` less those of `one`."""

    axis: str
    one: Any
    other: Any
    allocated_bytes: int
    reserved_bytes: int

    @property
    def bytes(self) -> int:
        return max(abs(self.allocated_bytes), abs(self.reserved_bytes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Pairs of repeats of one condition that differ in their peaks, and in how many of them the later one peaks higher."""

    num_pairs: int
    num_later_higher: int
    max_bytes: int


def value_of(condition: Condition, axis: str) -> Any:
    """What a condition has on an axis; None where it has no such parameter."""
    return getattr(condition, axis) if axis in AXES else condition.params.get(axis)


def differing_axes(one: Condition, other: Condition) -> Axes:
    """The names of what differs between two conditions."""
    names = (*AXES, *{**one.params, **other.params})
    return frozenset(name for name in names if value_of(one, name) != value_of(other, name))


def groups(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Trials put together that differ in nothing but step size and repeat."""
    found: list[list[Trial]] = []
    for trial in trials:
        for group in found:
            if differing_axes(group[0].condition, trial.condition) <= STEP_SIZE:
                group.append(trial)
                break
        else:
            found.append([trial])
    return found


def between_step_sizes(trials: Sequence[Trial], series: Mapping[int, StepSeries]) -> list[Difference]:
    """Every pair that differs in step size and, as seeds draw batches, not in seed."""
    pairs = ((one, other) for one, other in combinations(trials, 2) if one.seed == other.seed)
    return list(
        _differences(((a, b) for a, b in pairs if _is_step_size(differing_axes(a.condition, b.condition))), series)
    )


def between_repeats(trials: Sequence[Trial], series: Mapping[int, StepSeries]) -> list[Difference]:
    """Every pair of trials of one condition: their differences are noise."""
    return list(_differences(_repeats(trials), series))


def largest(differences: Sequence[Difference]) -> Difference | None:
    return max(differences, key=lambda difference: difference.bytes, default=None)


def effects(trials: Sequence[Trial], series: Mapping[int, StepSeries]) -> list[Effect]:
    """The largest effect of every axis but the step size, over pairs that differ in that axis only; largest first."""
    found: dict[str, Effect] = {}
    for one, other in combinations(trials, 2):
        axes = differing_axes(one.condition, other.condition)
        if len(axes) != 1 or axes <= STEP_SIZE or one.repeat != other.repeat:
            continue
        effect = _effect(next(iter(axes)), one, other, series)
        if effect is not None and (effect.axis not in found or effect.bytes > found[effect.axis].bytes):
            found[effect.axis] = effect
    return sorted(found.values(), key=lambda effect: -effect.bytes)


def order_of(trials: Sequence[Trial]) -> Order | None:
    """Whether repeats that ran later peak higher; None without two repeats that have a peak."""
    rises = []
    for one, other in _repeats(trials):
        early, late = sorted((one, other), key=lambda trial: trial.position)
        if early.max_memory_reserved_bytes is not None and late.max_memory_reserved_bytes is not None:
            rises.append(late.max_memory_reserved_bytes - early.max_memory_reserved_bytes)
    if not rises:
        return None
    differing = [rise for rise in rises if rise]
    higher = sum(rise > 0 for rise in differing)
    return Order(num_pairs=len(differing), num_later_higher=higher, max_bytes=max(map(abs, rises)))


def _is_step_size(axes: Axes) -> bool:
    return bool(axes) and axes <= STEP_SIZE


def _repeats(trials: Sequence[Trial]) -> Iterator[tuple[Trial, Trial]]:
    for one, other in combinations(trials, 2):
        if not differing_axes(one.condition, other.condition):
            yield one, other


def _differences(pairs: Iterable[tuple[Trial, Trial]], series: Mapping[int, StepSeries]) -> Iterator[Difference]:
    for one, other in pairs:
        if one.number in series and other.number in series:
            difference = _difference(one, other, series[one.number], series[other.number])
            if difference is not None:
                yield difference


def _difference(one: Trial, other: Trial, first: StepSeries, second: StepSeries) -> Difference | None:
    shared = min(len(first.allocated_bytes), len(second.allocated_bytes))
    if not shared:
        return None
    apart = {name: _apart(getattr(first, field), getattr(second, field), shared) for name, field in FIGURES.items()}
    figure = max(apart, key=lambda name: apart[name][0])
    distance, step = apart[figure]
    peak = max(*first.peak_allocated_bytes[:shared], *second.peak_allocated_bytes[:shared])
    return Difference(
        bytes=distance, figure=figure, step=step, num_shared_steps=shared, one=one, other=other, peak_bytes=peak
    )


def _apart(first: Sequence[int], second: Sequence[int], shared: int) -> tuple[int, int]:
    """The largest distance within the shared steps, and the first step that has it."""
    distance = np.abs(np.asarray(first[:shared], dtype=np.int64) - np.asarray(second[:shared], dtype=np.int64))
    at = int(distance.argmax())
    return int(distance[at]), at + 1


def _effect(axis: str, one: Trial, other: Trial, series: Mapping[int, StepSeries]) -> Effect | None:
    before, after = _peaks(one, other, series), _peaks(other, one, series)
    if before is None or after is None:
        return None
    return Effect(
        axis=axis,
        one=value_of(one.condition, axis),
        other=value_of(other.condition, axis),
        allocated_bytes=after[0] - before[0],
        reserved_bytes=after[1] - before[1],
    )


def _peaks(trial: Trial, other: Trial, series: Mapping[int, StepSeries]) -> tuple[int, int] | None:
    """Peak allocated and reserved within the steps that `other` has as well; of the whole trial where no steps are known."""
    mine, others = series.get(trial.number), series.get(other.number)
    shared = min(len(mine.allocated_bytes), len(others.allocated_bytes)) if mine and others else 0
    if mine is not None and shared:
        return max(mine.peak_allocated_bytes[:shared]), max(mine.reserved_bytes[:shared])
    if trial.max_memory_allocated_bytes is None or trial.max_memory_reserved_bytes is None:
        return None
    return trial.max_memory_allocated_bytes, trial.max_memory_reserved_bytes
