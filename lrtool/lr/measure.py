"""Measure a range test: one ramp of training steps for each repeat, on a fresh workload or on live objects put back."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lrtool.batches import Batches, LoaderEnded
from lrtool.config import RangeTestSettings
from lrtool.devices import model_device, pick_device, place
from lrtool.distributed.team import Team
from lrtool.errors import LrtoolError, WorkloadError
from lrtool.live_objects import restored
from lrtool.lr.adapt import higher_end, lower_start
from lrtool.lr.held_for import batch_size, optimizer_settings
from lrtool.lr.looks import Looks, LooksByTime
from lrtool.lr.ramp import DivergenceWatch, Stop, ramp_lrs
from lrtool.target import Factory, from_callable, load, seed_everything
from lrtool.training import Step, make_step
from lrtool.user_code import failure_of, user_code
from lrtool.workload import Workload, from_mapping, loader_length


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
    """What one ramp measured, and how it ended; `error` is what ended it, where something raised."""

    lrs: list[float]
    losses: list[float]
    stop: Stop
    error: BaseException | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What there is to say of a workload once it has been dropped."""

    device: str
    optimizer: str
    optimizer_settings: dict[str, tuple[float, ...]]
    batch_size: int | None
    group_sizes: tuple[int, ...]
    group_ratios: tuple[float, ...]
    steps_per_epoch: int | None
    cycles_momentum: bool


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where workloads come from: a factory, built afresh for every repeat, or live objects that are put back.

    `group_ratios` are the LRs of the parameter groups over the ramp's; None for those that the optimizer was given.
    With a `team` they are spread over its ranks.
    """

    name: str
    factory: Factory | None = None
    live: Workload | None = None
    group_ratios: tuple[float, ...] | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    team: Team | None = None


OnProgress = Callable[[Progress], None]


def find_source(
    target: str | Callable[..., Any] | Workload | Mapping[str, Any], *, params: Mapping[str, Any], device: str
) -> Source:
    """What `target` names. Raises UsageError, WorkloadError, UnavailableError."""
    if isinstance(target, Workload | Mapping):
        live = target if isinstance(target, Workload) else from_mapping(target, name="the workload")
        return Source(name="live objects", live=live, device=model_device(live.model))
    picked = pick_device(device)
    if isinstance(target, str):
        return Source(name=target, factory=load(target, params=params), device=picked)
    factory = from_callable(target, params=params)
    return Source(name=factory.name, factory=factory, device=picked)


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
        except (Exception, KeyboardInterrupt) as raised:
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
    if setup is None or not any(ramp.losses for ramp in ramps):
        assert error is not None
        raise as_error(error)
    duration_s = time.perf_counter() - begin
    return Measurement(setup=setup, ramps=ramps, duration_s=duration_s, false_starts=false_starts, error=error)


def describe(source: Source, *, seed: int) -> Setup:
    """What there is to say of the source's workload, built once for it where it is a factory. Raises LrtoolError."""
    if source.live is not None:
        return _describe(source.live, source)
    assert source.factory is not None
    return _describe(source.factory.build(seed=seed, device=source.device), source)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """A workload on its device, about to take its first step; `looks` begins to look at a ramp's losses."""

    workload: Workload
    setup: Setup
    batches: Batches
    step: Step
    looks: Callable[[], Looks]


@contextmanager
def ready(source: Source, *, seed: int) -> Iterator[Ready]:
    """The source's workload at its start: built from `seed`, or the live objects, which are put back afterwards."""
    if source.live is not None:
        with restored(source.live):
            seed_everything(seed)
            yield _prepared(source, source.live)
    else:
        assert source.factory is not None
        yield _prepared(source, source.factory.build(seed=seed, device=source.device))


def _prepared(source: Source, workload: Workload) -> Ready:
    device, team = source.device, source.team
    _refuse_one_batch(loader_length(workload.train_loader))
    with user_code("moving the model to its device"):
        place(workload, device)
    workload = workload if team is None else team.distribute(workload)
    batches = Batches(workload.train_loader)
    step = make_step(workload, device, batches)
    return Ready(
        workload=workload,
        setup=_describe(workload, source),
        batches=batches,
        step=step if team is None else team.watched(step),
        looks=LooksByTime if team is None else team.looks,
    )


def _one_repeat(source: Source, settings: RangeTestSettings, seed: int, on_progress: OnProgress) -> tuple[Setup, Ramp]:
    with ready(source, seed=seed) as start:
        ramp = _full_ramp(start, settings, on_progress)
        _refuse_one_batch(start.batches.epoch_length)
        return start.setup, ramp


def _full_ramp(start: Ready, settings: RangeTestSettings, on_progress: OnProgress) -> Ramp:
    """The ramp of `settings`, and two decades more where its end is not high enough for the loss to turn up."""
    optimizer, ratios = start.workload.optimizer, start.setup.group_ratios
    ramp = run_ramp(
        start.step, optimizer, lrs=ramp_lrs(settings), ratios=ratios, on_progress=on_progress, looks=start.looks()
    )
    more = higher_end(settings, ramp.losses) if ramp.stop.kind == "end" else []
    if not more:
        return ramp
    beyond = run_ramp(
        start.step, optimizer, lrs=more, ratios=ratios, on_progress=lambda progress: None, looks=start.looks()
    )
    error = None if beyond.stop.is_explosion else beyond.error
    return Ramp(lrs=[*ramp.lrs, *beyond.lrs], losses=[*ramp.losses, *beyond.losses], stop=beyond.stop, error=error)


def run_ramp(
    step: Step,
    optimizer: torch.optim.Optimizer,
    *,
    lrs: Sequence[float],
    ratios: Sequence[float],
    on_progress: OnProgress,
    looks: Looks | None = None,
) -> Ramp:
    """Take one step at each LR until the watch says stop. Whatever raises ends the ramp and is kept beside its points.

    Losses stay on the device and are looked at every 4 to 50 steps, some 50 ms apart: reading each would make the CPU wait
    for the GPU at every step. Steps taken past the point of divergence meanwhile are dropped, so the curve does not
    depend on when the looks were.
    """
    watch, looks = DivergenceWatch(list(lrs)), looks or LooksByTime()
    pending: list[Tensor] = []
    stop: Stop | None = None
    error: BaseException | None = None
    try:
        for lr in lrs:
            set_lr(optimizer, lr, ratios)
            pending.append(step())
            if looks.are_due(len(pending)):
                stop = watch.feed(looks.read(pending))
                _report(watch, lrs, on_progress)
                if stop is not None:
                    break
    except (Exception, SystemExit, KeyboardInterrupt) as raised:
        error = raised
    if pending and stop is None and (error is None or not looks.take_all_ranks):
        try:
            stop = watch.feed(looks.read(pending))
        except Exception as raised:  # a dead CUDA context cannot be read any more; what was read before stays
            error = error or raised
    return _finished(watch, lrs, stop, error)


def set_lr(optimizer: torch.optim.Optimizer, lr: float, ratios: Sequence[float]) -> None:
    """Set every group's LR to `lr` times its ratio; an LR kept as a tensor is filled, as capturable optimizers need."""
    for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * ratio)
        else:
            group["lr"] = lr * ratio


def group_ratios(optimizer: torch.optim.Optimizer) -> tuple[float, ...]:
    """Each group's LR as the user gave it, over the largest of them; before a scheduler's warm-up where there is one."""
    lrs = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
    largest = max(lrs)
    return tuple(lr / largest if largest > 0 else 1.0 for lr in lrs)


def cycles_momentum(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a schedule can cycle momentum without switching it on where the user has none."""
    return all(group.get("momentum", 0) > 0 or "betas" in group for group in optimizer.param_groups)


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
        return Stop(kind="interrupted", reason=f"interrupted after {count} steps", num_points=count)
    if isinstance(error, LoaderEnded):
        reason = f"train_loader ended after {count} steps and, being an iterator, cannot start again"
        return Stop(kind="loader-ended", reason=reason, num_points=count)
    return Stop(kind="failed", reason=f"{type(error).__name__} after {count} steps", num_points=count)


def _refuse_one_batch(num_batches: int | None) -> None:
    if num_batches == 1:
        raise WorkloadError(
            "train_loader has a single batch: the ramp would see the same samples at every step",
            hint="lower batch_size; for full-batch training, which means to, give itertools.repeat(batch)",
        )


def _describe(workload: Workload, source: Source) -> Setup:
    optimizer = workload.optimizer
    length = loader_length(workload.train_loader)
    return Setup(
        device=str(source.device),
        optimizer=type(optimizer).__name__,
        optimizer_settings=optimizer_settings(optimizer),
        batch_size=batch_size(workload),
        group_sizes=tuple(sum(each.numel() for each in group["params"]) for group in optimizer.param_groups),
        group_ratios=source.group_ratios or group_ratios(optimizer),
        steps_per_epoch=None if length is None else max(1, length // workload.accumulate),
        cycles_momentum=cycles_momentum(optimizer),
    )
