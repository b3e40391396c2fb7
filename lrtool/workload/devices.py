"""Where a workload runs: the device asked for, and everything of the workload moved there."""

from typing import Any

import torch
from torch import Tensor, nn

from lrtool.errors import UnavailableError, UsageError
from lrtool.workload.workload import Workload, optimizer_parameters

ACCELERATOR = "cuda"
"""The type of device that trains, and whose memory is measured, where there is one: a second kind begins here."""


def is_accelerator(device: torch.device) -> bool:
    """Whether a device is one whose memory can be measured."""
    return device.type == ACCELERATOR


def accelerator() -> Any:
    """torch's module for the accelerator, `torch.cuda`."""
    return torch.get_device_module(ACCELERATOR)


def pick_device(name: str) -> torch.device:
    """The device of "auto" (CUDA where there is one, else the CPU), "cpu", "cuda", "cuda:1" or "mps".

    Raises UsageError for an unknown name, UnavailableError for a device that is not there.
    """
    if name == "auto":
        return torch.device(ACCELERATOR if accelerator().is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", ACCELERATOR, "mps"):
        raise UsageError(f"unknown device {name!r}", hint="known: auto, cpu, cuda, cuda:1, mps")
    count = accelerator().device_count() if accelerator().is_available() else 0
    if is_accelerator(device) and (device.index or 0) >= count:
        has = f"{count} CUDA device{'s'[: count != 1]}" if torch.version.cuda else "a torch built without CUDA"
        raise UnavailableError(f"device {name} was asked for, and this machine has {has}", hint="use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UnavailableError("device mps was asked for, and is not available here", hint="use --device cpu")
    return device


def model_device(model: nn.Module) -> torch.device:
    """Where the model's first parameter lives; the CPU for a model without any."""
    parameter = next(model.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")


def place(workload: Workload, device: torch.device) -> None:
    """Move model and optimizer to `device`, in place, and put a model that is wholly in eval mode into training mode.

    A model that begins on `device` is left where it is: it may be spread over several. One that has modules in training
    mode keeps all its modes: frozen BatchNorm stays frozen.
    """
    if not _begins_on(workload.model, device):
        workload.model.to(device)
        _move_optimizer(workload.optimizer, device)
    if not any(module.training for module in workload.model.modules()):
        workload.model.train()


def _begins_on(model: nn.Module, device: torch.device) -> bool:
    at = model_device(model)
    return at.type == device.type and (device.index is None or at.index == device.index)


def _move_optimizer(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Move the parameters that belong to no module, and the state; step counts stay where the optimizer wants them."""
    for parameter in optimizer_parameters(optimizer):
        parameter.data = parameter.data.to(device)
        state = optimizer.state.get(parameter, {})
        for key, value in state.items():
            if isinstance(value, Tensor) and value.dim() > 0:
                state[key] = value.to(device)
