"""Cures around the forward pass and after the step: autocast, evaluation without gradients, an emptied cache."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import torch
from torch import nn

from lrtool.diagnosis.cures.applied import AppliedCure, CannotHelp, CureOptions
from lrtool.diagnosis.cures.cure import Stage, cure
from lrtool.workload.devices import ACCELERATOR
from lrtool.workload.user_code import parameters_of
from lrtool.workload.workload import Workload, optimizer_parameters

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


@cure(
    name="bf16",
    title="bf16 autocast",
    stage=Stage.PRECISION,
    alters="rounding",
    note="may use more where weights dominate: it keeps fp32 weights and makes bf16 copies",
)
def autocast(workload: Workload, _options: CureOptions) -> AppliedCure:
    """The forward pass under bf16 autocast; with a step of its own, that of the model alone."""
    if workload.precision != "fp32":
        raise CannotHelp(f"its precision is {workload.precision} already")
    if all(parameter.dtype != torch.float32 for parameter in optimizer_parameters(workload.optimizer)):
        raise CannotHelp("its parameters are not in fp32")
    if workload.step is None:
        changed = replace(workload, precision="bf16")
    else:
        _wrap_forward(workload.model, _under_autocast)
        changed = workload
    return AppliedCure(
        workload=changed,
        how=('with torch.autocast("cuda", dtype=torch.bfloat16):', "    loss = compute_loss(model, batch)"),
    )


@cure(
    name="empty-cache",
    title="empty_cache() each step",
    stage=Stage.STEP,
    note="the device is asked anew for memory in each step, which waits for it",
)
def empty_cache(workload: Workload, _options: CureOptions) -> AppliedCure:
    """Cached memory goes back to the device after every step, when its tensors are gone."""
    scheduler, own_step = workload.scheduler, workload.step
    if own_step is not None and any(p.name == "scheduler" for p in parameters_of(own_step)):
        own_step, scheduler = partial(own_step, scheduler=scheduler), None  # it moves the scheduler on by itself
    return AppliedCure(
        workload=replace(workload, step=own_step, scheduler=_Emptying(scheduler)),
        how=("del loss, output, batch  # at the end of each step", "torch.cuda.empty_cache()"),
    )


@cure(name="no-grad", title="no_grad in evaluation", stage=Stage.STEP)
def no_grad_in_evaluation(workload: Workload, _options: CureOptions) -> AppliedCure:
    """The model's forward pass without gradients whenever it is in evaluation mode."""
    if workload.step is None:
        raise CannotHelp("its steps evaluate nothing: they are training steps only")
    model = workload.model

    def without(forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)
        def passed(*arguments: Any, **named: Any) -> Any:
            with torch.set_grad_enabled(model.training and torch.is_grad_enabled()):
                return forward(*arguments, **named)

        return passed

    _wrap_forward(model, without)
    return AppliedCure(
        workload=workload, how=("model.eval()", "with torch.no_grad():", "    evaluate(model, val_loader)")
    )


class _Emptying:
    """A scheduler that empties the cache as it moves on."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    def step(self) -> None:
        if self._scheduler is not None:
            self._scheduler.step()
        torch.cuda.empty_cache()


def _wrap_forward(model: nn.Module, wrap: Wrap) -> None:
    model.forward = wrap(model.forward)


def _under_autocast(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def passed(*arguments: Any, **named: Any) -> Any:
        device = next((value.device.type for value in arguments if isinstance(value, torch.Tensor)), ACCELERATOR)
        with torch.autocast(device, dtype=torch.bfloat16):
            return forward(*arguments, **named)

    return passed
