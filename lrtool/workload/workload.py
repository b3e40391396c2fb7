"""The workload: a user's training setup as one checked value, however it was given."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lrtool.errors import WorkloadError, did_you_mean
from lrtool.workload.optimizers.several import all_optimizers, as_optimizer

Precision = Literal["fp32", "bf16", "fp16"]
CONVENTION = "build() must return a dict with model, optimizer, train_loader and loss"


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A training setup: what `build()` returns, typed.

    loss(model, batch) returns a scalar tensor; without it the model is called on the batch and its output's `.loss` is
    used. `step` replaces the whole training step and returns the loss; it is given those of model, batch, optimizer,
    scheduler, loss and device that its parameters name. `prepare(batch)` or `prepare(batch, device)` moves a batch.
    `evaluate` makes one pass of evaluation, given those of model, val_loader, device and loss that it names.
    `optimizer` may be a dict or list of several: one loss moves all, or `step` does, which gets them as they were given.
    `accumulate` is the number of micro-batches in a step, `clip_norm` the largest gradient norm.

    Raises WorkloadError, with the nearest valid spelling or value, for anything that is not a training setup.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    train_loader: Iterable[Any]
    loss: Callable[..., Tensor] | None = None
    val_loader: Iterable[Any] | None = None
    scheduler: Any = None
    precision: Precision = "fp32"
    accumulate: int = 1
    clip_norm: float | None = None
    prepare: Callable[..., Any] | None = None
    evaluate: Callable[..., Any] | None = None
    step: Callable[..., Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "optimizer", as_optimizer(self.optimizer, self.model))
        _check_types(self)
        _check_parameters(self)
        _check_options(self)


KEYS = tuple(f.name for f in fields(Workload))
REQUIRED = ("model", "optimizer", "train_loader")


def from_mapping(returned: Mapping[str, Any], *, name: str) -> Workload:
    """The workload of the dict that the factory `name` returned. Raises WorkloadError."""
    for key in returned:
        if key not in KEYS:
            raise WorkloadError(f"{name} returned the unknown key {key!r}", hint=did_you_mean(str(key), KEYS))
    missing = [key for key in REQUIRED if returned.get(key) is None]
    if missing:
        raise WorkloadError(f"{name} returned no {' and no '.join(missing)}", hint=CONVENTION)
    return Workload(**{key: value for key, value in returned.items() if value is not None})


def optimizer_parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The parameters of all groups, in order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def loader_length(loader: Iterable[Any]) -> int | None:
    """Batches in an epoch; None where the loader does not know (an IterableDataset, a generator)."""
    try:
        return len(loader)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None


def _check_types(workload: Workload) -> None:
    _check_is(workload.model, nn.Module, "model", "an nn.Module")
    _check_is(workload.optimizer, torch.optim.Optimizer, "optimizer", "a torch.optim.Optimizer")
    if not isinstance(workload.train_loader, Iterable) and not hasattr(workload.train_loader, "__getitem__"):
        _refuse("train_loader", workload.train_loader, "a DataLoader or another iterable of batches")
    for key in ("loss", "prepare", "evaluate", "step"):
        value = getattr(workload, key)
        if value is not None and not callable(value):
            _refuse(key, value, "a function")
    if getattr(workload.loss, "__module__", None) in ("torch.nn.functional", "torch.nn.modules.loss"):
        raise WorkloadError(
            "loss must be a function of (model, batch), not torch's own of (output, target)",
            hint="wrap it: lambda model, batch: criterion(model(batch[0]), batch[1])",
        )
    if workload.scheduler is not None and not callable(getattr(workload.scheduler, "step", None)):
        _refuse("scheduler", workload.scheduler, "an LR scheduler (with a step method)")
    is_lbfgs = any(isinstance(each, torch.optim.LBFGS) for each in all_optimizers(workload.optimizer))
    if is_lbfgs and workload.step is None:
        raise WorkloadError(
            "LBFGS evaluates the loss several times a step", hint="give a `step` that calls optimizer.step(closure)"
        )


def _check_parameters(workload: Workload) -> None:
    held = optimizer_parameters(workload.optimizer)
    if not any(parameter.requires_grad for parameter in held):
        raise WorkloadError(
            "the optimizer has no trainable parameters",
            hint="every parameter it holds has requires_grad=False; unfreeze some, or hand it the ones to train",
        )
    owned = {id(parameter) for parameter in workload.model.parameters()}
    if owned and not any(id(parameter) in owned for parameter in held):
        raise WorkloadError(
            "the optimizer holds none of the model's parameters",
            hint="make the optimizer after the model's last change, from model.parameters()",
        )


def _check_options(workload: Workload) -> None:
    if workload.precision not in get_args(Precision):
        near = did_you_mean(str(workload.precision), get_args(Precision))
        raise WorkloadError(f"precision {workload.precision!r} is unknown", hint=near)
    if isinstance(workload.accumulate, bool) or not isinstance(workload.accumulate, int) or workload.accumulate < 1:
        _refuse("accumulate", workload.accumulate, "a whole number of micro-batches, 1 or more")
    if workload.clip_norm is not None and not (isinstance(workload.clip_norm, int | float) and workload.clip_norm > 0):
        _refuse("clip_norm", workload.clip_norm, "a positive number")
    if loader_length(workload.train_loader) == 0:
        raise empty_loader()


def empty_loader() -> WorkloadError:
    return WorkloadError(
        "train_loader is empty: it yields no batch",
        hint="check the data set, and that batch_size with drop_last=True does not exceed it",
    )


def _check_is(value: object, wanted: type, key: str, described: str) -> None:
    if not isinstance(value, wanted):
        _refuse(key, value, described)


def _refuse(key: str, value: object, wanted: str) -> None:
    kind = type(value).__name__
    shown = f"a{'n' * kind.lower().startswith(tuple('aeiou'))} {kind}"
    if isinstance(value, type):
        shown = f"the class {value.__name__}"
    if isinstance(value, int | float | str):
        shown = repr(value)
    raise WorkloadError(f"{key} must be {wanted}, not {shown}", hint=CONVENTION)
