"""Which of a sweep's settings belong to which schedule, and what torch would take though it changes nothing. Pure."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from lrtool.results.mem_sweep import PerGroup, SweepAxes

MOMENTUM_OF = {"cyclic": (0.8, 0.9), "onecycle": (0.85, 0.95)}
"""The ends of momentum that torch's schedulers take where none are given: base_momentum and max_momentum."""
_BOTH = ("base_lr", "max_lr", "cycle_momentum", "base_momentum", "max_momentum", "last_epoch")
KNOWN_TO: dict[str, tuple[str, ...]] = {
    "cyclic": ("mode", "gamma", "scale_fn", "scale_mode", *_BOTH),
    "onecycle": _BOTH,
    "constant": ("base_lr", "max_lr"),
    "own": (),
}
"""The settings that a schedule looks at, beside the step sizes, which say how long a trial is."""


def values_of(value: tuple[PerGroup, ...] | float) -> tuple[PerGroup, ...]:
    """The values on an axis that may be given as a single number."""
    return value if isinstance(value, tuple) else (value,)


def check_schedule(axes: SweepAxes) -> None:
    """Raise ValueError, with message and hint, for ends that are the wrong way round and for what no trial would notice."""
    for message, hint in (*_without_effect(axes), *_ends(axes)):
        raise ValueError(message, hint)


def _without_effect(axes: SweepAxes) -> Iterator[tuple[str, str]]:
    default = SweepAxes()
    known = {name for schedule in axes.schedule for name in KNOWN_TO[schedule]}
    for name in KNOWN_TO["cyclic"]:
        if name not in known and getattr(axes, name) != getattr(default, name):
            yield (
                f"{_shown(name)} changes nothing under the schedule {' or '.join(axes.schedule)}",
                f"leave it out{_ADD}",
            )
    if axes.scale_mode and not axes.scale_fn:
        yield (
            "scale-mode is given without scale-fn",
            "torch takes it from the mode, and looks at it with a scale_fn only",
        )
    if axes.scale_fn and (axes.mode != default.mode or axes.gamma != default.gamma):
        yield "scale-fn is given with a mode or gamma", "torch ignores both where there is a scale_fn: leave them out"
    if len(axes.gamma) > 1 and "exp_range" not in axes.mode:
        yield "gamma is varied without the mode exp_range", "no other mode looks at it: add --mode exp_range"
    if axes.cycle_momentum and not any(axes.cycle_momentum):
        for name in ("base_momentum", "max_momentum"):
            if getattr(axes, name) != ():
                yield f"{_shown(name)} is given, and cycle-momentum is false", "leave one of them out"


_ADD = ", or add a --schedule that looks at it"


def _ends(axes: SweepAxes) -> Iterator[tuple[str, str]]:
    low, high = values_of(axes.base_lr), values_of(axes.max_lr)
    if bool(low) != bool(high):
        given, missing = ("base-lr", "max-lr") if low else ("max-lr", "base-lr")
        yield f"{given} is given, and {missing} is not", "give both, or neither"
    yield from _crossed("lr", low, high, hint="a cycle goes from base-lr up to max-lr and back")
    low, high = values_of(axes.base_momentum), values_of(axes.max_momentum)
    if not low and not high:
        return
    for schedule in (each for each in axes.schedule if each in MOMENTUM_OF):
        base, top = MOMENTUM_OF[schedule]
        hint = "momentum goes from max-momentum down to base-momentum and back"
        yield from _crossed("momentum", low or (base,), high or (top,), hint=hint)


def _crossed(name: str, low: Sequence[PerGroup], high: Sequence[PerGroup], *, hint: str) -> Iterator[tuple[str, str]]:
    for base, top in product(low, high):
        if isinstance(base, tuple) and isinstance(top, tuple) and len(base) != len(top):
            yield f"base-{name} has {len(base)} values, and max-{name} {len(top)}", "one for each parameter group"
        elif any(a > b for a, b in _pairs(base, top)):
            yield f"base-{name} {shown(base)} is above max-{name} {shown(top)}", hint


def _pairs(base: PerGroup, top: PerGroup) -> list[tuple[float, float]]:
    lows, highs = (each if isinstance(each, tuple) else (each,) for each in (base, top))
    count = max(len(lows), len(highs))
    return list(zip(lows * (count // len(lows)), highs * (count // len(highs)), strict=True))


def shown(value: PerGroup) -> str:
    """As it is written on the command line: 0.1, or [0.1,0.01]."""
    return f"{value:g}" if not isinstance(value, tuple) else f"[{','.join(f'{each:g}' for each in value)}]"


def shown_setting(value: Any) -> str:
    """What a condition has on an axis, in words."""
    return shown(value) if isinstance(value, tuple) else str(value)


def _shown(name: str) -> str:
    return name.replace("_", "-")
