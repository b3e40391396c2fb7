"""The one training step that everything measures.

`make_step` returns a closure because its cost is part of what is measured: on a small model a step takes 0.3 ms, so what
does not change between steps is decided once, outside.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lrtool.errors import WorkloadError, did_you_mean
from lrtool.workload.batches import Batches, batch_source
from lrtool.workload.optimizers.several import given_optimizer
from lrtool.workload.own_losses import own_loss_of
from lrtool.workload.schedulers import mover_of
from lrtool.workload.user_code import POSITIONAL, parameters_of
from lrtool.workload.workload import Workload, optimizer_parameters

_ADD_A_LOSS = 'add "loss": lambda model, batch: ... to what build() returns'
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

Step = Callable[[], Tensor]


def make_step(workload: Workload, device: torch.device, batches: Batches) -> Step:
    """A function that does one optimizer step and returns its loss: a detached scalar tensor on `device`.

    The loss of a step of several micro-batches is their mean. The user's scheduler is left to the caller. What the
    user's code raises comes through unchanged; a loss that cannot be trained on raises WorkloadError at the first step.
    """
    next_batch = batch_source(workload, device, batches)
    if workload.step is not None:
        return _user_step(workload, device, next_batch)
    compute = compute_loss(workload, device)
    if workload.precision == "fp32" and workload.accumulate == 1 and workload.clip_norm is None:
        return _plain_step(workload.optimizer, compute, next_batch)
    return _full_step(workload, device, compute, next_batch)


def loss_of(workload: Workload) -> Callable[[nn.Module, Any], Any]:
    """The loss as a function of model and batch: the user's, else the `.loss` of the model's output."""
    return _output_loss if workload.loss is None else workload.loss


def with_scheduler(step: Step, scheduler: Any) -> Step:
    """`step`, followed by one step of the user's LR scheduler."""
    if scheduler is None:
        return step
    move_on = mover_of(scheduler)

    def scheduled() -> Tensor:
        loss = step()
        move_on(loss)
        return loss

    return scheduled


def _plain_step(
    optimizer: torch.optim.Optimizer, compute: Callable[[Any], Tensor], next_batch: Callable[[], Any]
) -> Step:
    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = compute(next_batch())
        loss.backward()
        optimizer.step()
        return loss.detach()

    return _checked_first(step)


def _full_step(
    workload: Workload, device: torch.device, compute: Callable[[Any], Tensor], next_batch: Callable[[], Any]
) -> Step:
    optimizer, accumulate, clip_norm = workload.optimizer, workload.accumulate, workload.clip_norm
    parameters = optimizer_parameters(optimizer)
    scaler = torch.amp.GradScaler(device.type, enabled=workload.precision == "fp16")

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        total: Tensor | None = None
        for _ in range(accumulate):
            loss = compute(next_batch())
            loss = loss / accumulate if accumulate > 1 else loss
            scaler.scale(loss).backward()
            total = loss.detach() if total is None else total + loss.detach()
        if clip_norm is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        scaler.step(optimizer)
        scaler.update()
        assert total is not None
        return total

    return _checked_first(step)


def _user_step(workload: Workload, device: torch.device, next_batch: Callable[[], Any]) -> Step:
    """The user's own step, given by name what its parameters ask for; by position (model, batch, optimizer) otherwise."""
    assert workload.step is not None
    function = workload.step
    known = {
        "model": workload.model,
        "optimizer": given_optimizer(workload.optimizer),
        "scheduler": workload.scheduler,
        "loss": workload.loss,
        "device": device,
    }
    call = _by_name(function, known) or _by_position(function, workload.model, given_optimizer(workload.optimizer))

    own_loss = own_loss_of(workload.optimizer)

    def step() -> Tensor:
        loss = own_loss(lambda: call(next_batch()))
        return loss.detach() if isinstance(loss, Tensor) else _number_as_tensor(loss)

    return _checked_first(step, name="step()")


def _by_name(function: Callable[..., Any], known: dict[str, Any]) -> Callable[[Any], Any] | None:
    """A call of the user's step by its parameters' names; None where these are names of its own."""
    parameters = {p.name: p for p in parameters_of(function) if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not {"model", "batch", "optimizer"} & set(parameters):
        return None
    has_default = {name for name, parameter in parameters.items() if parameter.default is not parameter.empty}
    for name in parameters:
        if name not in (*known, "batch", *has_default):
            hint = did_you_mean(name, [*known, "batch"])
            raise WorkloadError(f"step() asks for {name!r}, which there is not", hint=hint)
    given = {k: v for k, v in known.items() if k in parameters and not (v is None and k in has_default)}
    call = partial(function, **given)
    return (lambda batch: call(batch=batch)) if "batch" in parameters else lambda batch: call()


def call_by_name(function: Callable[..., Any], known: Mapping[str, Any]) -> Callable[[], Any]:
    """A call of a user's function with those of `known` that its parameters name; by position where it names none."""
    parameters = [p for p in parameters_of(function) if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    named = {p.name: known[p.name] for p in parameters if p.name in known}
    if named or not parameters:
        return partial(function, **named)
    return partial(function, *list(known.values())[: len(parameters)])


def _by_position(function: Callable[..., Any], model: nn.Module, optimizer: Any) -> Callable[[Any], Any]:
    """A call of the user's step with (model, batch, optimizer), or as many of them as it takes."""
    kinds = [p.kind for p in parameters_of(function)]
    takes_all = inspect.Parameter.VAR_POSITIONAL in kinds
    count = 3 if takes_all else sum(kind in POSITIONAL for kind in kinds)
    return lambda batch: function(*(model, batch, optimizer)[:count])


def _number_as_tensor(loss: Any) -> Tensor:
    if not hasattr(loss, "__float__"):
        returned = "None" if loss is None else f"a {type(loss).__name__}"
        if isinstance(loss, Mapping):
            returned = f"a dict with the keys {', '.join(map(repr, loss))}"
        raise WorkloadError(
            f"step() returned {returned}, not a loss", hint="return the step's loss, a scalar tensor or a number"
        )
    return torch.tensor(float(loss), dtype=torch.float64)


def _checked_first(step: Step, *, name: str = "the loss") -> Step:
    """`step` whose first call explains a loss that is no scalar or has no gradient, in place of torch's own error."""
    first = True

    def checked() -> Tensor:
        nonlocal first
        if not first:
            return step()
        first = False
        return _explained(step, name)

    return checked


def _explained(step: Step, name: str) -> Tensor:
    try:
        loss = step()
    except RuntimeError as error:
        text = str(error)
        if "does not require grad" in text:
            raise WorkloadError(
                f"{name} has no gradient: nothing in it depends on a trainable parameter",
                hint="look for .item(), .detach(), no_grad or numpy on the way from the model to the loss",
            ) from error
        if "grad can be implicitly created only for scalar" in text:
            raise WorkloadError(f"{name} is not a scalar tensor", hint="reduce it, for example with .mean()") from error
        raise
    if loss.numel() != 1:
        raise WorkloadError(
            f"{name} is not a scalar but a tensor of shape {tuple(loss.shape)}",
            hint="reduce it, for example with .mean()",
        )
    return loss


def compute_loss(workload: Workload, device: torch.device) -> Callable[[Any], Tensor]:
    """The workload's loss as a function of a batch on `device`, with its precision."""
    compute = partial(loss_of(workload), workload.model)
    checked = partial(_tensor_loss, compute)
    if workload.precision == "fp32":
        return checked
    dtype = _AUTOCAST[workload.precision]

    def autocast_loss(batch: Any) -> Tensor:
        with torch.autocast(device.type, dtype=dtype):
            return checked(batch)

    return autocast_loss


def _tensor_loss(compute: Callable[[Any], Any], batch: Any) -> Tensor:
    loss = compute(batch)
    if isinstance(loss, Mapping):
        raise WorkloadError(
            f"the loss is a dict with the keys {', '.join(map(repr, loss))}, not a tensor",
            hint="return what is to be minimized: one of them, or their sum",
        )
    if not isinstance(loss, Tensor):
        raise WorkloadError(
            f"the loss is a {type(loss).__name__}, not a tensor",
            hint="return the tensor itself, without .item(); of a tuple return the loss alone",
        )
    return loss


def _output_loss(model: nn.Module, batch: Any) -> Any:
    """The `.loss` of the model's output, for models that compute it themselves, as those of transformers do."""
    arguments = () if isinstance(batch, Mapping) else tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    named = batch if isinstance(batch, Mapping) else {}
    try:
        output = model(*arguments, **named)
    except TypeError:
        _refuse_misfit(model, arguments, named)
        raise
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None:
        raise WorkloadError(
            f"no loss was given, and the model's output ({type(output).__name__}) has no .loss",
            hint=_ADD_A_LOSS,
        )
    return loss


def _refuse_misfit(model: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    try:
        inspect.signature(model.forward).bind(*arguments, **named)
    except TypeError as misfit:
        raise WorkloadError(
            f"no loss was given, and the model does not take a whole batch ({misfit})", hint=_ADD_A_LOSS
        ) from None
