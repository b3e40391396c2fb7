"""For which training a suggestion holds: what its optimizer is set to, and how many samples make a step."""

import torch

from lrtool.workload import Workload

_SWITCHES = ("nesterov", "amsgrad")


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
        return {name: float(value)}
    if name == "betas" and isinstance(value, tuple | list):
        return {f"beta{number}": float(beta) for number, beta in enumerate(value, 1)}
    return {}
