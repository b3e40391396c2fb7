"""The LR range test: measured along a ramp of learning rates, concluded in a suggestion."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from lrtool.config import RangeTestSettings
from lrtool.lr import cyclic
from lrtool.lr.batch_sizes import (
    as_row,
    conclude_scaling,
    has_own_row,
    measure_scaling,
    sizes_and_seeds,
    with_batch_size,
)
from lrtool.lr.confirm import Confirmed, confirm, confirmed
from lrtool.lr.curve.cautions import Circumstances
from lrtool.lr.curve.rules import compared
from lrtool.lr.curve.smoothing import smoothed_curve
from lrtool.lr.curve.suggest import Suggestion, suggest
from lrtool.lr.curve.support import Ended
from lrtool.lr.doubt import Doubt, settle
from lrtool.lr.measure import Measurement, OnProgress, Ramp, as_error, measure, parts_of
from lrtool.lr.per_group import found_ratios, ramp_each_alone
from lrtool.lr.ramp import num_ramp_steps
from lrtool.lr.snippets import Training, snippet
from lrtool.lr.source import Setup, Source, describe, find_source
from lrtool.results import Band, Curve, OptimizerTest, RangeTest
from lrtool.settings_file import SettingsFile, resolve
from lrtool.workload.workload import Workload

DEFAULT = RangeTestSettings()


def range_test(
    target: str | Callable[..., Any] | Workload | Mapping[str, Any],
    *,
    start_lr: float = DEFAULT.start_lr,
    end_lr: float = DEFAULT.end_lr,
    num_steps: int | Literal["auto"] = DEFAULT.num_steps,
    mode: str = DEFAULT.mode,
    repeats: int = DEFAULT.repeats,
    confirm: str = DEFAULT.confirm,
    confirm_loss: str = DEFAULT.confirm_loss,
    per_group: bool = DEFAULT.per_group,
    optimizer: str | None = DEFAULT.optimizer,
    batch_size: Sequence[int] = DEFAULT.batch_size,
    rules: Sequence[str] = DEFAULT.rules,
    seed: int = 0,
    device: str = "auto",
    params: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> RangeTest:
    """Run an LR range test and suggest learning rates.

    `target` is "model.py:build", a factory function, or live objects (a Workload, or its dict), which are put back
    exactly as they were, also when the run raises; they stay on the device they are on. `params` are arguments of the
    factory. `confirm` tries LRs around the suggestion: "cyclic", "constant" or "super-convergence". `per_group` ramps each
    parameter group alone too; `optimizer` is one of several, which are ramped in turn otherwise; `batch_size` are sizes to
    hand to the factory, the suggestion being for the first; `rules` names other finders, or "all", to hear on the same
    curve. Raises LrtoolError; an exception of the user's code comes as WorkloadError with that exception as its cause.
    """
    asked = {
        "start_lr": start_lr, "end_lr": end_lr, "num_steps": num_steps, "mode": mode, "repeats": repeats,
        "confirm": confirm, "confirm_loss": confirm_loss,
        "per_group": per_group, "optimizer": optimizer, "batch_size": list(batch_size), "rules": list(rules),
    }  # fmt: skip
    settings = resolve(SettingsFile(), table="range_test", options={**asked, "seed": seed}).range_test
    source = find_source(target, params=params or {}, device=device)
    outcome = run(source, settings=settings, seed=seed, on_progress=on_progress or (lambda progress: None))
    if outcome.error is not None:
        raise as_error(outcome.error)
    return outcome.result


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A range test's result; `error` is what the user's code raised, or the KeyboardInterrupt, that cut it short."""

    result: RangeTest
    error: BaseException | None = None
    others: tuple[str, ...] = ()


def in_turn(
    source: Source, first: Outcome, *, settings: RangeTestSettings, seed: int, on_progress: OnProgress
) -> Outcome:
    """Every other optimizer ramped as the first one was; those measured before an error or Ctrl-C are kept."""
    tests, error = [_as_optimizer_test(first.result)], None
    try:
        for name in first.others:
            ramped = replace(source, optimizer=name, group_ratios=None)
            outcome = _main_test(ramped, settings=settings, seed=seed, on_progress=on_progress)
            tests.append(_as_optimizer_test(outcome.result))
            if outcome.error is not None:
                error = outcome.error
                break
    except BaseException as raised:
        error = raised
    return Outcome(result=replace(first.result, optimizer_tests=tuple(tests)), error=error)


def _as_optimizer_test(found: RangeTest) -> OptimizerTest:
    shared = {each.name: getattr(found, each.name) for each in fields(OptimizerTest) if each.name != "name"}
    return OptimizerTest(name=found.optimizer_name or "", **shared)


def run(source: Source, *, settings: RangeTestSettings, seed: int, on_progress: OnProgress) -> Outcome:
    """All that `settings` ask for: each group alone, the test itself, other rules on its curve, other batch sizes.

    The result is named after the source. Raises what ended a ramp if no loss of the test itself was measured by then.
    """
    source = replace(source, optimizer=settings.optimizer)
    first = with_batch_size(source, settings.batch_size[0]) if settings.batch_size else source
    given = describe(first, seed=seed).group_ratios if settings.per_group else ()
    num_alone, pairs = len(given) if len(given) > 1 else 0, sizes_and_seeds(settings, seed=seed)
    parts = parts_of(on_progress, count=num_alone + 1 + len(pairs))
    alone = ramp_each_alone(first, num_alone, settings=settings, seed=seed, parts=parts)
    ratios = found_ratios(alone, given=given) if alone else None
    first = replace(first, group_ratios=ratios)
    outcome = _main_test(first, settings=settings, seed=seed, on_progress=next(parts))
    if outcome.error is None and outcome.others and settings.optimizer is None:
        outcome = in_turn(first, outcome, settings=settings, seed=seed, on_progress=on_progress)
    result = replace(outcome.result, group_tests=alone)
    result = compared(result, settings.rules, num_planned=num_ramp_steps(settings))
    if outcome.error is not None or not pairs:
        return Outcome(result=result, error=outcome.error)
    every_size = replace(source, group_ratios=ratios)
    rows, error = measure_scaling(every_size, pairs, settings=settings, parts=parts, test=_test_or_raise)
    own = [as_row(result, size=settings.batch_size[0], seed=seed)] if has_own_row(settings) else []
    return Outcome(result=replace(result, batch_scaling=conclude_scaling([*own, *rows])), error=error)


def _main_test(source: Source, *, settings: RangeTestSettings, seed: int, on_progress: OnProgress) -> Outcome:
    """The ramps, what they suggest, and the runs that confirm it."""
    measurement = measure(source, settings=settings, seed=seed, on_progress=on_progress)
    suggestion = suggestion_of(measurement, is_confirmed=settings.confirm != "off")
    source = replace(source, group_ratios=measurement.setup.group_ratios)
    runs, doubt = None, None
    if settings.confirm != "off" and measurement.error is None and suggestion.rates is not None:
        runs = confirm(source, suggestion, settings=settings, seed=seed, on_progress=on_progress)
    elif measurement.error is None:
        suggestion, doubt = settle(source, suggestion, measured(measurement)[0], seed=seed)
    error = measurement.error or (None if runs is None else runs.error) or (None if doubt is None else doubt.error)
    names = tuple(name for name in measurement.setup.optimizer_names if name != measurement.setup.optimizer_name)
    result = conclude(measurement, suggestion, runs, target=source.name)
    return Outcome(result=result if doubt is None else with_doubt(result, doubt), error=error, others=names)


def with_doubt(result: RangeTest, doubt: Doubt) -> RangeTest:
    """The result with the steps that settled a doubt, their cost counted."""
    num_steps = result.num_steps + sum(len(run.loss) for run in doubt.runs)
    return replace(
        result, doubt_runs=tuple(doubt.runs), num_steps=num_steps, duration_s=result.duration_s + doubt.duration_s
    )


def _test_or_raise(source: Source, settings: RangeTestSettings, seed: int, on_progress: OnProgress) -> RangeTest:
    """The test at another batch size: its ramps alone, as confirming runs do not move the law they follow."""
    outcome = _main_test(source, settings=replace(settings, confirm="off"), seed=seed, on_progress=on_progress)
    if outcome.error is not None:
        raise as_error(outcome.error)
    return outcome.result


def suggestion_of(measurement: Measurement, *, is_confirmed: bool = False) -> Suggestion:
    """What the ramps suggest, by itself or as the centre of confirming runs."""
    ramps = measured(measurement)
    return suggest(
        [(ramp.lrs, ramp.losses) for ramp in ramps],
        group_ratios=measurement.setup.group_ratios,
        ended=Ended(
            stopped=ramps[-1].stop.kind,
            reason=ramps[-1].stop.reason,
            num_repeats=len(ramps),
            is_confirmed=is_confirmed,
            taken=_circumstances(measurement.setup, ramps),
        ),
    )


def _circumstances(setup: Setup, ramps: Sequence[Ramp]) -> Circumstances:
    return Circumstances(
        num_samples=setup.num_samples,
        steps_per_epoch=setup.steps_per_epoch,
        is_in_order=setup.is_in_order,
        clipped_part=max(ramp.clipped_part for ramp in ramps),
        optimizer=setup.optimizer_caution,
        samples_actions=any(ramp.samples_actions for ramp in ramps),
    )


def measured(measurement: Measurement) -> list[Ramp]:
    """The ramps with at least one loss."""
    return [ramp for ramp in measurement.ramps if ramp.losses]


def conclude(measurement: Measurement, suggestion: Suggestion, runs: Confirmed | None, *, target: str) -> RangeTest:
    """The result: the suggestion drawn from all ramps and the runs that confirmed it, and what they were drawn from."""
    setup, ramps = measurement.setup, measured(measurement)
    if runs is not None and runs.error is None:
        suggestion = confirmed(suggestion, runs.confirmation, lr=runs.lr)
    main = max(suggestion.groups, key=lambda group: group.max_lr or 0.0)
    spread = suggestion.spread
    ramp_steps = sum(len(ramp.losses) for ramp in (*ramps, *measurement.false_starts))
    return RangeTest(
        target=target,
        base_lr=main.base_lr,
        max_lr=main.max_lr,
        suggested_lr=main.suggested_lr,
        base_lr_interval=None if spread is None else spread.base_lr,
        max_lr_interval=None if spread is None else spread.max_lr,
        suggested_lr_interval=None if spread is None else spread.suggested_lr,
        param_groups=suggestion.groups,
        confidence=suggestion.confidence,
        rule=suggestion.rule,
        reason=suggestion.reason,
        advice=suggestion.advice,
        stopped=ramps[-1].stop.kind,
        stop_reason=ramps[-1].stop.reason,
        num_steps=ramp_steps + (0 if runs is None else runs.confirmation.num_steps),
        curve=suggestion.curve,
        repeats=suggestion.repeats if len(ramps) > 1 else (),
        band=_band(suggestion.repeats) if len(ramps) > 1 else None,
        landmarks=suggestion.landmarks,
        confirmation=None if runs is None else runs.confirmation,
        false_starts=tuple(smoothed_curve(ramp.lrs, ramp.losses) for ramp in measurement.false_starts if ramp.losses),
        device=setup.device,
        optimizer=setup.optimizer,
        steps_per_epoch=setup.steps_per_epoch,
        optimizer_name=setup.optimizer_name,
        **_to_paste(suggestion, setup),
        group_names=setup.group_names,
        duration_s=measurement.duration_s + (0.0 if runs is None else runs.duration_s),
        optimizer_settings=setup.optimizer_settings,
        batch_size=setup.batch_size,
    )


def _to_paste(suggestion: Suggestion, setup: Setup) -> dict[str, Any]:
    """The schedules for the suggestion, as calls and in the training's framework."""
    step_size, groups = cyclic.step_size_up(setup.steps_per_epoch), suggestion.groups
    return {
        "step_size_up": step_size,
        "schedule_line": cyclic.schedule_line(groups, step_size_up=step_size, optimizer=_variable(setup)),
        "one_cycle_line": cyclic.one_cycle_line(
            groups, steps_per_epoch=setup.steps_per_epoch, optimizer=_variable(setup)
        ),
        "snippet": snippet(groups, _training(setup)),
    }


def _training(setup: Setup) -> Training:
    return Training(
        framework=setup.framework,
        optimizer=setup.optimizer,
        step_size_up=cyclic.step_size_up(setup.steps_per_epoch),
        steps_per_epoch=setup.steps_per_epoch,
        group_names=setup.group_names,
        has_initial_lr=setup.has_initial_lr,
        variable=_variable(setup),
    )


def _variable(setup: Setup) -> str:
    """By which expression the optimizer goes: of several as the dict or list that build() returns has it."""
    if setup.optimizer_name is None:
        return "optimizer"
    place = setup.optimizer_names.index(setup.optimizer_name) if setup.optimizer_is_listed else setup.optimizer_name
    return f"optimizers[{json.dumps(place)}]"


def _band(curves: Sequence[Curve]) -> Band:
    count = min(len(curve.lr) for curve in curves)
    columns = list(zip(*(curve.smoothed_loss[:count] for curve in curves), strict=True))
    return Band(lr=curves[0].lr[:count], low=tuple(map(min, columns)), high=tuple(map(max, columns)))
