"""What to run: the conditions that the axes of a sweep span, as trials in the order in which they run. Pure."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from lrtool.config import MemSweepSettings
from lrtool.errors import UsageError
from lrtool.results import Condition, Recorder
from lrtool.results.mem_sweep import PerGroup
from lrtool.results.schedules import KNOWN_TO
from lrtool.results.stored.secrets import masked
from lrtool.sweep.shapes import shapes

_OF_SCHEDULE = {"step_size_up", "step_size_down", "schedule", *KNOWN_TO["cyclic"]}
_OTHER_AXES = tuple(each.name for each in fields(Condition) if each.name not in _OF_SCHEDULE)
MAX_TRIALS = 10_000
"""At a second each they take three hours; more are a typing mistake."""
_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "\"'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What all trials of a sweep share; without LRs the optimizer's own is taken, as max_lr."""

    target: str
    recorder: Recorder
    device: str
    gpu: str
    capacity_bytes: int | None
    base_lr: PerGroup | None
    max_lr: PerGroup | None
    history: tuple[int, ...]
    gpus: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTrial:
    """A trial to run: `number` counts from 1 as conditions were given, `position` from 0 as they run."""

    number: int
    position: int
    repeat: int
    seed: int
    num_steps: int
    condition: Condition


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A whole sweep before it runs: its trials by number, and what its header says."""

    setup: Setup
    recorder_reason: str
    card: str | None
    lr_source: str
    trials: tuple[PlannedTrial, ...]
    settings: dict[str, Any]


def plan_trials(settings: MemSweepSettings, *, params: Mapping[str, Any], seed: int) -> tuple[PlannedTrial, ...]:
    """A trial for each condition and repeat, all from the same seed; a condition given twice is a repeat of itself.

    Raises UsageError for more of them than MAX_TRIALS.
    """
    count = _num_trials(settings, params)
    if count > MAX_TRIALS:
        raise UsageError(
            f"{count:,} trials are asked for",
            hint=f"give fewer values, or fewer repeats: at most {MAX_TRIALS:,} trials",
        )
    wanted = [condition for condition in conditions(settings, params) for _ in range(settings.repeats)]
    positions = _positions(len(wanted), seed=seed, is_shuffled=settings.order == "shuffled")
    seen: Counter[str] = Counter()
    trials = []
    for index, condition in enumerate(wanted):
        repeat = seen[repr(condition)]
        seen[repr(condition)] += 1
        trials.append(
            PlannedTrial(
                number=index + 1,
                position=positions[index],
                repeat=repeat,
                seed=seed,
                num_steps=settings.steps or settings.cycles * (condition.step_size_up + condition.step_size_down),
                condition=condition,
            )
        )
    return tuple(trials)


def shown_conditions(trials: Sequence[PlannedTrial]) -> dict[int, Condition]:
    """The condition of each trial by its number, secrets masked; a second value of one has "*** (2)", and so on."""
    values: dict[str, list[str]] = {}
    shown = {}
    for trial in trials:
        params = masked(trial.condition.params)
        for name, value in trial.condition.params.items():
            if params[name] != value:
                known = values.setdefault(name, [])
                number = known.index(repr(value)) if repr(value) in known else len(known)
                values[name] = known if number < len(known) else [*known, repr(value)]
                params[name] = f"{params[name]} ({number + 1})" if number else params[name]
        shown[trial.number] = replace(trial.condition, params=params)
    return shown


def conditions(settings: MemSweepSettings, params: Mapping[str, Any]) -> Iterator[Condition]:
    """Every combination of the axes; what a schedule does not know of is not varied under it."""
    axes = product(
        settings.step_sizes,
        settings.step_size_down or (None,),
        settings.schedule,
        *(
            _params(settings, params) if name == "params" else getattr(settings, name) or (None,)
            for name in _OTHER_AXES
        ),
    )
    for up, down, schedule, *others in axes:
        for shape in shapes(settings, schedule):
            yield Condition(
                step_size_up=up,
                step_size_down=down or up,
                schedule=schedule,
                **shape,
                **dict(zip(_OTHER_AXES, others, strict=True)),
            )


def split_values(text: str) -> list[str]:
    """The values of "a,b"; a comma in brackets or quotes is part of a value."""
    values, depth, quote = [""], 0, ""
    for character in text:
        if character == "," and not depth and not quote:
            values.append("")
            continue
        if character in _QUOTES and quote in ("", character):
            quote = "" if quote else character
        elif not quote:
            depth += (character in _OPENING) - (character in _CLOSING)
        values[-1] += character
    return [value.strip() for value in values]


def _num_trials(settings: MemSweepSettings, params: Mapping[str, Any]) -> int:
    """How many trials the axes span, without making them."""
    others = (getattr(settings, name) for name in _OTHER_AXES if name != "params")
    axes = (settings.step_sizes, settings.step_size_down, *others, *_axes_of_params(settings, params).values())
    num_shapes = sum(len(list(shapes(settings, schedule))) for schedule in settings.schedule)
    return math.prod(len(axis) or 1 for axis in axes) * num_shapes * settings.repeats


def _params(settings: MemSweepSettings, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of the values of build()'s arguments."""
    axes = _axes_of_params(settings, params)
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _axes_of_params(settings: MemSweepSettings, params: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """The values of each argument of build()."""
    axes: dict[str, Sequence[Any]] = {
        name: split_values(value) if isinstance(value, str) else (value,) for name, value in params.items()
    }
    if settings.batch_size:
        axes["batch_size"] = settings.batch_size
    return axes


def _positions(count: int, *, seed: int, is_shuffled: bool) -> list[int]:
    order = list(range(count))
    if is_shuffled:
        random.Random(seed).shuffle(order)
    return sorted(order, key=order.__getitem__)
