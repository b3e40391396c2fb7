"""Where workloads come from, and for which training a suggestion holds: optimizer settings and samples in a step."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler

from lrtool.errors import UsageError, WorkloadError
from lrtool.lr.loss_reader import AveragedLossReader, LossReader, TimedLossReader
from lrtool.workload.batches import Batches
from lrtool.workload.devices import model_device, pick_device, place
from lrtool.workload.distributed.team import Team
from lrtool.workload.frameworks.framework import Framework, framework_of, group_names
from lrtool.workload.optimizers.several import Optimizers, given_optimizer
from lrtool.workload.restore import restored
from lrtool.workload.step import Step, make_step
from lrtool.workload.target import Factory, from_callable, load, seed_everything
from lrtool.workload.user_code import user_code
from lrtool.workload.workload import Workload, from_mapping, loader_length

_SWITCHES = ("nesterov", "amsgrad")
_ABSENT = object()


def optimizer_settings(optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, ...]]:
    """Every number the optimizer is set to but its LR, one value for each parameter group, by name.

    A pair of betas comes as beta1 and beta2. Switches that change the training are 0 or 1; those that choose between
    equal implementations are left out, as are settings that not every group has.
    """
    rows = [_numbers(group) for group in optimizer.param_groups]
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: tuple(row[name] for row in rows) for name in shared}


def batch_size(workload: Workload) -> int | None:
    """Samples in an optimizer step, all micro-batches of it; None where the loader does not say."""
    sampler = getattr(workload.train_loader, "batch_sampler", None)
    size = getattr(workload.train_loader, "batch_size", None) or getattr(sampler, "batch_size", None)
    return size * workload.accumulate if isinstance(size, int) and size > 0 else None


def _numbers(group: dict[str, object]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in group.items():
        if name in ("lr", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"):
            continue
        if name in _SWITCHES or not isinstance(value, bool):
            found |= _named(name, value)
    return found


def _named(name: str, value: object) -> dict[str, float]:
    if isinstance(value, int | float):
        return {name: float(value)} if math.isfinite(value) else {}  # growth_rate=inf of Prodigy: no limit
    if name == "betas" and isinstance(value, tuple | list):
        return {f"beta{number}": float(beta) for number, beta in enumerate(value, 1)}
    return {}


def group_ratios(optimizer: torch.optim.Optimizer) -> tuple[float, ...]:
    """Each group's LR as the user gave it, over the largest of those that train; before a scheduler's warm-up.

    A `lr_scale` (timm's layer-wise decay) counts, which a schedule of timm multiplies in, unless the LRs show that already.
    A group with LR 0, or whose parameters are all frozen, keeps out: its ratio is 0.
    """
    refuse_without_lr(optimizer)
    groups = optimizer.param_groups
    lrs = [float(group.get("initial_lr", group["lr"])) for group in groups]
    scales = [float(group.get("lr_scale", 1.0)) for group in groups]
    if not _is_scaled(lrs, scales):
        lrs = [lr * scale for lr, scale in zip(lrs, scales, strict=True)]
    if max(lrs) <= 0:
        lrs = [1.0] * len(groups)
    trained = [any(each.requires_grad for each in group["params"]) for group in groups]
    lrs = [lr if trains else 0.0 for lr, trains in zip(lrs, trained, strict=True)] if any(trained) else lrs
    largest = max(lrs)
    return tuple(lr / largest if largest > 0 else 1.0 for lr in lrs)


def _is_scaled(lrs: Sequence[float], scales: Sequence[float]) -> bool:
    """Whether LRs that differ do so by their scales: then they have been multiplied in."""
    rest = [lr / scale for lr, scale in zip(lrs, scales, strict=True) if scale > 0]
    return max(lrs) > min(lrs) and max(scales) > min(scales) and math.isclose(max(rest), min(rest), rel_tol=1e-4)


def num_samples(loader: Any) -> int | None:
    """Samples in an epoch; None where the loader does not say."""
    try:
        return len(loader.sampler)
    except (AttributeError, TypeError, NotImplementedError):
        return None


def optimizer_caution(optimizer: torch.optim.Optimizer) -> str | None:
    """Why a ramp shows less of this optimizer than of others, as a clause; None where it does not."""
    if isinstance(optimizer, torch.optim.LBFGS):
        return "LBFGS takes the curvature from its last steps, which the ramp took at other LRs"
    return None


def refuse_deaf(optimizer: torch.optim.Optimizer) -> None:
    """Raises WorkloadError for Rprop, which reads its LR at its first step, as the size of that one (torch/optim/rprop.py)."""
    if isinstance(optimizer, torch.optim.Rprop):
        raise WorkloadError(
            f"{type(optimizer).__name__} reads its learning rate at its first step only: a ramp would move nothing",
            hint="Rprop finds the size of its steps by itself; its lr need not be tuned, nor cycled",
        )


def refuse_without_lr(optimizer: torch.optim.Optimizer) -> None:
    """Raises WorkloadError where a group has no LR that could be ramped, as Adafactor's have none with relative_step."""
    for group in optimizer.param_groups:
        lr = group.get("lr", _ABSENT)
        if isinstance(lr, int | float) or (isinstance(lr, Tensor) and lr.numel() == 1):
            continue
        has = "no lr in its groups" if lr is _ABSENT else f"lr={lr!r}"
        raise WorkloadError(
            f"{type(optimizer).__name__} has {has}: there is no learning rate to ramp",
            hint="give it an lr, and switch off what finds one by itself (Adafactor: relative_step=False, warmup_init=False)",
        )


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
    framework: Framework
    group_names: tuple[str, ...]
    has_initial_lr: bool
    optimizer_name: str | None
    optimizer_names: tuple[str, ...]
    optimizer_is_listed: bool
    num_samples: int | None = None
    is_in_order: bool = False
    optimizer_caution: str | None = None


class StepObserver(Protocol):
    """Hears of every ramp, and of every step of it: when it begins, and its LR and loss, on their device, once it ended."""

    def ramp_begins(self) -> None: ...

    def step_begins(self) -> None: ...

    def step_ended(self, lr: float | Tensor, loss: Tensor) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where workloads come from: a factory, built afresh for every repeat, or live objects that are put back.

    `group_ratios` are the LRs of the parameter groups over the ramp's; None for those that the optimizer was given.
    Of several optimizers the one called `optimizer` is ramped, else the first; the others keep their LRs.
    With a `team` they are spread over its ranks. An `observer` hears of each step.
    """

    name: str
    factory: Factory | None = None
    live: Workload | None = None
    group_ratios: tuple[float, ...] | None = None
    optimizer: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    team: Team | None = None
    observer: StepObserver | None = None


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


def describe(source: Source, *, seed: int) -> Setup:
    """What there is to say of the source's workload, built once for it where it is a factory. Raises LrtoolError."""
    if source.live is not None:
        return _describe(source.live, source)
    assert source.factory is not None
    return _describe(source.factory.build(seed=seed, device=source.device), source)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """A workload on its device, about to take its first step; `loss_reader` begins to read a ramp's losses."""

    workload: Workload
    setup: Setup
    batches: Batches
    step: Step
    loss_reader: Callable[[], LossReader]


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
    refuse_one_batch(loader_length(workload.train_loader))
    refuse_deaf(workload.optimizer)
    with user_code("moving the model to its device"):
        place(workload, device)
    workload = workload if team is None else team.distribute(workload)
    batches = Batches(workload.train_loader)
    workload = _watching(workload, source.optimizer)
    step = make_step(workload, device, batches)
    setup = _describe(workload, source)
    workload = replace(workload, optimizer=ramped_optimizer(workload.optimizer))
    if source.observer is not None:
        step = _observed(step, workload.optimizer, source.observer)
    return Ready(
        workload=workload,
        setup=setup,
        batches=batches,
        step=step if team is None else team.watched(step),
        loss_reader=TimedLossReader if team is None else partial(AveragedLossReader, team.device),
    )


def _watching(workload: Workload, name: str | None) -> Workload:
    """With the named optimizer watched. Raises UsageError where there is none of that name."""
    if isinstance(workload.optimizer, Optimizers):
        return replace(workload, optimizer=workload.optimizer.watching(name))
    if name is not None:
        raise UsageError(f"--optimizer {name} chooses among several, and there is one", hint="leave it out")
    return workload


def ramped_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The one whose LR is ramped: of several the watched one."""
    if not isinstance(optimizer, Optimizers):
        return optimizer
    return optimizer.named[optimizer.watched or next(iter(optimizer.named))]


def _observed(step: Step, optimizer: torch.optim.Optimizer, observer: StepObserver) -> Step:
    def observed() -> Tensor:
        observer.step_begins()
        lrs = [group["lr"] for group in optimizer.param_groups]
        lr = max(lrs) if not any(isinstance(each, Tensor) for each in lrs) else torch.stack([*map(_copied, lrs)]).max()
        loss = step()
        observer.step_ended(lr, loss)
        return loss

    observer.ramp_begins()
    return observed


def _copied(lr: float | Tensor) -> Tensor:
    """An LR as a tensor of its own, where to look at it would wait for the GPU."""
    return torch.as_tensor(lr).detach().clone().reshape(())


def refuse_one_batch(num_batches: int | None) -> None:
    if num_batches == 1:
        raise WorkloadError(
            "train_loader has a single batch: the ramp would see the same samples at every step",
            hint="lower batch_size; for full-batch training, which means to, give itertools.repeat(batch)",
        )


def _describe(workload: Workload, source: Source) -> Setup:
    every = _watching(workload, source.optimizer).optimizer
    optimizer = ramped_optimizer(every)
    names = tuple(every.named) if isinstance(every, Optimizers) else ()
    name = every.watched if isinstance(every, Optimizers) else None
    length = loader_length(workload.train_loader)
    return Setup(
        device=str(source.device),
        optimizer=type(optimizer).__name__,
        optimizer_settings=optimizer_settings(optimizer),
        batch_size=batch_size(workload),
        group_sizes=tuple(sum(each.numel() for each in group["params"]) for group in optimizer.param_groups),
        group_ratios=source.group_ratios or group_ratios(optimizer),
        steps_per_epoch=None if length is None else max(1, length // workload.accumulate),
        framework=framework_of(workload),
        group_names=group_names(workload) if not names else (),
        optimizer_name=name,
        optimizer_names=names,
        optimizer_is_listed=bool(names) and not isinstance(given_optimizer(every), Mapping),
        has_initial_lr=any("initial_lr" in group for group in optimizer.param_groups),
        num_samples=num_samples(workload.train_loader),
        is_in_order=isinstance(getattr(workload.train_loader, "sampler", None), SequentialSampler),
        optimizer_caution=optimizer_caution(optimizer),
    )
