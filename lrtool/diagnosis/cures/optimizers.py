"""Cures of the optimizer: its kernels, its gradients between steps, and the size of its state."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim import Optimizer

from lrtool.diagnosis.cures.applied import AppliedCure, CannotHelp, CureOptions
from lrtool.diagnosis.cures.cure import Stage, cure
from lrtool.workload.devices import is_accelerator
from lrtool.workload.user_code import parameters_of
from lrtool.workload.workload import Workload, optimizer_parameters

_ADAM = ("Adam", "AdamW")
_WITH_SECOND_MOMENTS = (*_ADAM, "NAdam", "RAdam", "Adamax", "RMSprop", "Adadelta", "Adagrad")
_LIBRARIES_OF_8_BITS = (("bitsandbytes.optim", "8bit"), ("torchao.optim", "8bit"))


@cure(name="foreach-off", title="foreach=False", stage=Stage.OPTIMIZER, family="optimizer")
def without_foreach(workload: Workload, _options: CureOptions) -> AppliedCure:
    """One parameter after the other: no temporaries of the size of all parameters at once."""
    optimizer = workload.optimizer
    name = type(optimizer).__name__
    if "foreach" not in optimizer.defaults:
        raise CannotHelp(f"{name} has no foreach kernels")
    if all(group.get("foreach") is False or group.get("fused") for group in optimizer.param_groups):
        raise CannotHelp(f"{name} does not use them here")
    _set(optimizer, foreach=False)
    return AppliedCure(workload=workload, how=(f"torch.optim.{name}(..., foreach=False)",))


@cure(name="fused", title="fused optimizer", stage=Stage.OPTIMIZER, alters="rounding", family="optimizer")
def fused(workload: Workload, _options: CureOptions) -> AppliedCure:
    """The whole update of a parameter in one kernel, without temporaries."""
    optimizer = workload.optimizer
    name = type(optimizer).__name__
    if "fused" not in optimizer.defaults or name == "Adagrad":  # whose fused kernel is for the CPU only
        raise CannotHelp(f"{name} has no fused kernel on CUDA")
    if all(group.get("fused") for group in optimizer.param_groups):
        raise CannotHelp("it is on already")
    _set(optimizer, fused=True, foreach=False)
    return AppliedCure(workload=workload, how=(f"torch.optim.{name}(..., fused=True)",))


@cure(name="set-to-none", title="gradients set to None", stage=Stage.OPTIMIZER)
def set_to_none(workload: Workload, _options: CureOptions) -> AppliedCure:
    """Gradients go away between steps, whatever the user's own step says to zero_grad."""
    if workload.step is None:
        raise CannotHelp("gradients are set to None already, as torch does by default since 2.0")
    for owner in (workload.optimizer, workload.model):
        _drop_gradients(owner)
    return AppliedCure(
        workload=workload, how=("optimizer.zero_grad(set_to_none=True)  # right after optimizer.step()",)
    )


@cure(
    name="8-bit",
    title="8-bit optimizer state",
    stage=Stage.OPTIMIZER,
    alters="rounding",
    family="optimizer",
    note="states of parameters below 4,096 elements stay in 32 bits",
)
def in_8_bits(workload: Workload, _options: CureOptions) -> AppliedCure:
    """Adam's moments in 8 bits with a scale for each block (Dettmers et al. 2021, https://arxiv.org/abs/2110.02861)."""
    optimizer = workload.optimizer
    name = type(optimizer).__name__
    if name not in _ADAM:
        raise CannotHelp(f"there is no 8-bit {name} to take its place")
    module, kind = _class_of_8_bits(name)
    made = _remade(optimizer, kind, keys=("lr", "betas", "eps", "weight_decay"))
    library = module.partition(".")[0]
    if library == "torchao":
        _leave_uncompiled(made)
    return AppliedCure(
        workload=_with_optimizer(workload, made),
        how=(f"from {module} import {kind.__name__}", f"optimizer = {kind.__name__}(...)  # pip install {library}"),
    )


@cure(
    name="small-state",
    title="optimizer with less state",
    stage=Stage.OPTIMIZER,
    alters="training",
    family="optimizer",
    note="another optimizer: look for the learning rate again",
)
def small_state(workload: Workload, _options: CureOptions) -> AppliedCure:
    """Adafactor, whose second moments are a row and a column for each matrix, for an optimizer that adapts; else no momentum.

    Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235. Plain SGD in place of Adam would train something else entirely.
    """
    optimizer = workload.optimizer
    name = type(optimizer).__name__
    if name in _WITH_SECOND_MOMENTS:
        made = _remade(optimizer, torch.optim.Adafactor, keys=("lr", "weight_decay"))
        how: tuple[str, ...] = ("optimizer = torch.optim.Adafactor(model.parameters(), lr=...)",)
        return AppliedCure(workload=_with_optimizer(workload, made), how=how)
    if not any(group.get("momentum") for group in optimizer.param_groups):
        raise CannotHelp(f"{name} keeps no state that could be left out")
    _set(optimizer, momentum=0.0, nesterov=False)
    return AppliedCure(workload=workload, how=(f"torch.optim.{name}(..., momentum=0)",))


def _set(optimizer: Optimizer, **values: Any) -> None:
    """Set options of every group that has them; fused and foreach exclude each other."""
    for group in optimizer.param_groups:
        group.update({name: value for name, value in values.items() if name in group})


def _drop_gradients(owner: Any) -> None:
    original: Callable[..., None] = owner.zero_grad

    def zero_grad(*_: Any, **__: Any) -> None:
        original(set_to_none=True)

    owner.zero_grad = zero_grad


def _leave_uncompiled(optimizer: Optimizer) -> None:
    """torchao compiles its update, which fake tensors cannot, and on the CPU would take longer than what it is for."""
    step = optimizer.step

    def uncompiled(*arguments: Any, **named: Any) -> Any:
        first = optimizer_parameters(optimizer)[0]
        if is_accelerator(first.device) and not isinstance(first, FakeTensor):
            return step(*arguments, **named)
        with torch.compiler.set_stance("force_eager"):
            return step(*arguments, **named)

    optimizer.step = uncompiled  # type: ignore[method-assign]


def _class_of_8_bits(name: str) -> tuple[str, type[Optimizer]]:
    for module, suffix in _LIBRARIES_OF_8_BITS:
        if find_spec(module.partition(".")[0]) is not None:
            kind = getattr(import_module(module), f"{name}{suffix}", None) or getattr(
                import_module(module), f"{name}{suffix.capitalize()}", None
            )
            if kind is not None:
                return module, kind
    raise CannotHelp("neither bitsandbytes nor torchao is installed")


def _remade(optimizer: Optimizer, kind: Callable[..., Optimizer], *, keys: tuple[str, ...]) -> Optimizer:
    """An optimizer of another kind on the same groups, with those options that both understand."""
    groups = [_kept(group, ("params", *keys)) for group in optimizer.param_groups]
    return kind(groups, **{key: value for key, value in _kept(optimizer.defaults, keys).items() if key != "params"})


def _kept(options: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: options[key] for key in keys if key in options}


def _with_optimizer(workload: Workload, optimizer: Optimizer) -> Workload:
    """The workload with another optimizer, which a step of its own must take as an argument; its schedule is left out."""
    if workload.step is not None and not any(p.name == "optimizer" for p in parameters_of(workload.step)):
        raise CannotHelp("its own step brings its own optimizer along")
    return replace(workload, optimizer=optimizer, scheduler=None)
