"""The LR range test: measured along a ramp of learning rates, concluded in a suggestion."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrtool.config import RangeTestSettings, SettingsFile, resolve
from lrtool.lr import cyclic
from lrtool.lr.measure import Measurement, OnProgress, as_error, find_source, measure
from lrtool.lr.rules import compared
from lrtool.lr.suggest import suggest
from lrtool.results import Band, Curve, RangeTest
from lrtool.workload import Workload

DEFAULT = RangeTestSettings()


def range_test(
    target: str | Callable[..., Any] | Workload | Mapping[str, Any],
    *,
    start_lr: float = DEFAULT.start_lr,
    end_lr: float = DEFAULT.end_lr,
    num_steps: int = DEFAULT.num_steps,
    mode: str = DEFAULT.mode,
    repeats: int = DEFAULT.repeats,
    rules: Sequence[str] = DEFAULT.rules,
    seed: int = 0,
    device: str = "auto",
    params: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> RangeTest:
    """Run an LR range test and suggest learning rates.

    `target` is "model.py:build", a factory function, or live objects (a Workload, or its dict), which are put back
    exactly as they were, also when the run raises; they stay on the device they are on. `params` are arguments of the
    factory. `rules` names other finders, or "all", whose rules are tried on the same curve. Raises LrtoolError; an
    exception of the user's code comes as WorkloadError with that exception as its cause.
    """
    ramp = {"start_lr": start_lr, "end_lr": end_lr, "num_steps": num_steps, "mode": mode, "repeats": repeats}
    options = {**ramp, "rules": list(rules), "seed": seed}
    settings = resolve(SettingsFile(), command="range_test", options=options).range_test
    source = find_source(target, params=params or {}, device=device)
    measurement = measure(source, settings=settings, seed=seed, on_progress=on_progress or (lambda progress: None))
    if measurement.error is not None:
        raise as_error(measurement.error)
    return compared(conclude(measurement, target=source.name), settings)


def conclude(measurement: Measurement, *, target: str) -> RangeTest:
    """The result: the suggestion drawn from all ramps, and the curves it was drawn from."""
    setup, ramps = measurement.setup, [ramp for ramp in measurement.ramps if ramp.losses]
    suggestion = suggest([(ramp.lrs, ramp.losses) for ramp in ramps], group_ratios=setup.group_ratios)
    main = max(suggestion.groups, key=lambda group: group.max_lr or 0.0)
    step_size = cyclic.step_size_up(setup.steps_per_epoch)
    return RangeTest(
        target=target,
        base_lr=main.base_lr,
        max_lr=main.max_lr,
        suggested_lr=main.suggested_lr,
        param_groups=suggestion.groups,
        confidence=suggestion.confidence,
        rule=suggestion.rule,
        reason=suggestion.reason,
        advice=suggestion.advice,
        stopped=ramps[-1].stop.kind,
        stop_reason=ramps[-1].stop.reason,
        num_steps=sum(len(ramp.losses) for ramp in ramps),
        curve=suggestion.curve,
        repeats=suggestion.repeats if len(ramps) > 1 else (),
        band=_band(suggestion.repeats) if len(ramps) > 1 else None,
        device=setup.device,
        optimizer=setup.optimizer,
        steps_per_epoch=setup.steps_per_epoch,
        step_size_up=step_size,
        schedule_line=cyclic.schedule_line(
            suggestion.groups, step_size_up=step_size, cycles_momentum=setup.cycles_momentum
        ),
        duration_s=measurement.duration_s,
    )


def _band(curves: Sequence[Curve]) -> Band:
    count = min(len(curve.lr) for curve in curves)
    columns = list(zip(*(curve.smoothed_loss[:count] for curve in curves), strict=True))
    return Band(lr=curves[0].lr[:count], low=tuple(map(min, columns)), high=tuple(map(max, columns)))
