"""Measure a range test: one ramp of training steps for each repeat, on a fresh workload or on live objects put back."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from lrtool.config import RangeTestSettings
from lrtool.errors import LrtoolError, WorkloadError, cut
from lrtool.lr.in_force import LrWatch
from lrtool.lr.loss_reader import LossReader, TimedLossReader
from lrtool.lr.policy import PolicyWatch
from lrtool.lr.ramp import DivergenceWatch, Stop, higher_end, lower_start, ramp_lrs
from lrtool.lr.source import Ready, Setup, Source, ready, refuse_one_batch
from lrtool.units import count_of
from lrtool.workload.batches import LoaderEnded
from lrtool.workload.step import Step
from lrtool.workload.user_code import failure_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a range test stands: `step` of `num_steps` over all repeats, and the last and best loss looked at."""

    step: int
    num_steps: int
    lr: float
    loss: float
    best_loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ramp:
    """What one ramp measured, and how it ended; `error` is what ended it, where something raised.

    `clipped_part` is that of the steps looked at whose gradients were clipped, `with_gradients` the groups that had any there,
    `samples_actions` whether the step is a policy gradient's.
    """

    lrs: list[float]
    losses: list[float]
    stop: Stop
    error: BaseException | None = None
    clipped_part: float = 0.0
    with_gradients: frozenset[int] = frozenset()
    samples_actions: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The ramps of a range test; `error` is what the user's code raised, or the KeyboardInterrupt, that cut it short.

    `false_starts` are ramps that began too high and were walked again from lower down; they count as steps.
    """

    setup: Setup
    ramps: list[Ramp]
    duration_s: float
    false_starts: list[Ramp] = field(default_factory=list)
    error: BaseException | None = None


OnProgress = Callable[[Progress], None]


def measure(source: Source, *, settings: RangeTestSettings, seed: int, on_progress: OnProgress) -> Measurement:
    """One ramp for each repeat, seeds `seed`, `seed + 1`, ...; what was measured before an error or Ctrl-C is kept.

    Raises what ended the first ramp if it came before any loss did.
    """
    begin = time.perf_counter()
    ramps: list[Ramp] = []
    false_starts: list[Ramp] = []
    setup: Setup | None = None
    error: BaseException | None = None
    while len(ramps) < settings.repeats and error is None:
        repeat = len(ramps)
        try:
            setup, ramp = _one_repeat(
                source, settings, seed + repeat, part_of(on_progress, index=repeat, count=settings.repeats)
            )
        except BaseException as raised:
            error = raised
            break
        may_restart = repeat == 0 and ramp.stop.is_explosion and ramp.error is None
        lower = lower_start(settings, ramp.lrs, ramp.losses) if may_restart else None
        if lower is not None:
            settings = lower
            false_starts.append(ramp)
            continue
        ramps.append(ramp)
        error = ramp.error
        if ramp.stop.kind == "overridden":
            break
    if setup is None or not any(ramp.losses for ramp in ramps):
        assert error is not None
        raise as_error(error)
    duration_s = time.perf_counter() - begin
    found = Measurement(setup=setup, ramps=ramps, duration_s=duration_s, false_starts=false_starts, error=error)
    return _of_groups_that_train(found)


def _of_groups_that_train(found: Measurement) -> Measurement:
    """The measurement with the LRs of the largest group that had gradients; the others keep out, with a ratio of 0."""
    had = frozenset[int]().union(*(ramp.with_gradients for ramp in found.ramps))
    ratios = [ratio if index in had else 0.0 for index, ratio in enumerate(found.setup.group_ratios)]
    largest = max(ratios)
    if largest <= 0:
        return found
    setup = replace(found.setup, group_ratios=tuple(ratio / largest for ratio in ratios))
    scaled = [
        [replace(r, lrs=[lr * largest for lr in r.lrs]) for r in each] for each in (found.ramps, found.false_starts)
    ]
    return replace(found, setup=setup, ramps=scaled[0], false_starts=scaled[1])


def part_of(on_progress: OnProgress, *, index: int, count: int) -> OnProgress:
    """Progress of measurement `index` as progress of `count` equal ones."""

    def report(progress: Progress) -> None:
        steps = progress.num_steps
        on_progress(replace(progress, step=index * steps + progress.step, num_steps=count * steps))

    return report


def parts_of(on_progress: OnProgress, *, count: int) -> Iterator[OnProgress]:
    """The progress calls of `count` measurements that follow each other, each told as a part of the whole."""
    return (part_of(on_progress, index=index, count=count) for index in range(count))


def as_error(error: BaseException) -> BaseException:
    """The error to show for what ended a ramp: lrtool's own and Ctrl-C as they are, the user's with their frames."""
    if isinstance(error, LrtoolError | KeyboardInterrupt):
        return error
    failure = failure_of(error, doing="the training step")
    failure.__cause__ = error
    return failure


def _one_repeat(source: Source, settings: RangeTestSettings, seed: int, on_progress: OnProgress) -> tuple[Setup, Ramp]:
    with ready(source, seed=seed) as start:
        ramp = _full_ramp(start, settings, on_progress)
        refuse_one_batch(start.batches.epoch_length)
        return start.setup, ramp


def _full_ramp(start: Ready, settings: RangeTestSettings, on_progress: OnProgress) -> Ramp:
    """The ramp of `settings`, and two decades more where its end is not high enough for the loss to turn up."""
    step = PolicyWatch(start.step)
    take = partial(run_ramp, step, start.workload.optimizer, ratios=start.setup.group_ratios)
    ramp = take(lrs=ramp_lrs(settings), on_progress=on_progress, loss_reader=start.loss_reader())
    ramp = replace(ramp, samples_actions=step.samples_actions)
    more = higher_end(settings, ramp.losses) if ramp.stop.kind == "end" else []
    if not more:
        return ramp
    beyond = take(
        lrs=more,
        on_progress=_counted_on(on_progress, len(ramp.lrs)),
        loss_reader=start.loss_reader(),
        done=len(ramp.lrs),
    )
    error = None if beyond.stop.is_explosion else beyond.error
    return replace(
        ramp, lrs=[*ramp.lrs, *beyond.lrs], losses=[*ramp.losses, *beyond.losses], stop=beyond.stop, error=error
    )


def _counted_on(on_progress: OnProgress, done: int) -> OnProgress:
    """Progress of a ramp that goes on where another, of `done` steps, ended."""

    def report(progress: Progress) -> None:
        on_progress(replace(progress, step=done + progress.step, num_steps=done + progress.num_steps))

    return report


def run_ramp(
    step: Step,
    optimizer: torch.optim.Optimizer,
    *,
    lrs: Sequence[float],
    ratios: Sequence[float],
    on_progress: OnProgress,
    loss_reader: LossReader | None = None,
    done: int = 0,
) -> Ramp:
    """Take one step at each LR until the watch says stop. Whatever raises ends the ramp and is kept beside its points.

    Losses stay on the device and are looked at every 4 to 50 steps, some 50 ms apart: reading each would make the CPU wait
    for the GPU at every step. Steps taken past the point of divergence meanwhile are dropped, so the curve does not
    depend on when losses were read. `done` are the steps of the ramp that this one goes on from, which are counted on.
    """
    watch, reader, in_force = (
        DivergenceWatch(list(lrs), done=done),
        loss_reader or TimedLossReader(),
        LrWatch(optimizer),
    )
    pending: list[Tensor] = []
    stop: Stop | None = None
    error: BaseException | None = None
    overridden: str | None = None

    def take(lr: float) -> Tensor:
        in_force.expect(set_lr(optimizer, lr, ratios))
        return step()

    try:
        with in_force:
            for lr in lrs:
                pending.append(take(lr))
                if in_force.is_overridden:
                    overridden = in_force.explained(partial(take, lr))
                    break
                if reader.are_due(len(pending)):
                    stop = watch.feed(reader.read(pending))
                    _report(watch, lrs, on_progress)
                    if stop is not None:
                        break
    except BaseException as raised:
        error = raised
    if pending and stop is None and (error is None or not reader.take_all_ranks):
        try:
            stop = watch.feed(reader.read(pending))
        except Exception as raised:  # a dead CUDA context cannot be read any more; what was read before stays
            error = error or raised
    overridden = overridden or (in_force.never_stepped() if error is None and stop is None else None)
    if overridden is not None and watch.losses:
        stop = Stop(kind="overridden", reason=overridden, num_points=len(watch.losses))
    return replace(
        _finished(watch, lrs, stop, error), clipped_part=_read_safely(in_force), with_gradients=in_force.with_gradients
    )


def _read_safely(in_force: LrWatch) -> float:
    try:
        return in_force.clipped_part()
    except Exception:  # of a dead CUDA context
        return 0.0


def set_lr(optimizer: torch.optim.Optimizer, lr: float, ratios: Sequence[float]) -> list[float]:
    """Set every group's LR to `lr` times its ratio, and return them; a tensor is filled, as capturable ones need."""
    lrs = [lr * ratio for ratio in ratios]
    for group, each in zip(optimizer.param_groups, lrs, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(each)
        else:
            group["lr"] = each
    return lrs


def _report(watch: DivergenceWatch, lrs: Sequence[float], on_progress: OnProgress) -> None:
    done = len(watch.losses)
    if done:
        on_progress(
            Progress(
                step=done, num_steps=len(lrs), lr=lrs[done - 1], loss=watch.losses[-1], best_loss=min(watch.losses)
            )
        )


def _finished(watch: DivergenceWatch, lrs: Sequence[float], stop: Stop | None, error: BaseException | None) -> Ramp:
    count = len(watch.losses)
    if stop is None:
        stop = _stop_by(error, count)
    if stop.kind == "non-finite" and count == 0:
        error = WorkloadError(
            f"{stop.reason}, before the learning rate did anything",
            hint="look for NaN in the data, a log or a division by zero, or fp16 without need",
        )
    error = None if isinstance(error, LoaderEnded) and count else error
    return Ramp(lrs=list(lrs[:count]), losses=watch.losses, stop=stop, error=error)


def _stop_by(error: BaseException | None, count: int) -> Stop:
    if error is None:
        return Stop(kind="end", reason="the ramp reached its end", num_points=count)
    if isinstance(error, KeyboardInterrupt):
        return Stop(kind="interrupted", reason=f"interrupted after {count_of(count, 'step')}", num_points=count)
    if isinstance(error, LoaderEnded):
        reason = f"train_loader ended after {count_of(count, 'step')} and, being an iterator, cannot start again"
        return Stop(kind="loader-ended", reason=reason, num_points=count)
    return Stop(kind="failed", reason=f"{cut(type(error).__name__)} after {count_of(count, 'step')}", num_points=count)
