"""CyclicLR arithmetic (Smith 2015, arXiv:1506.01186): how long a half-cycle is, and the line of code that sets it up. Pure."""

from collections.abc import Sequence

from lrtool.results import GroupRange
from lrtool.units import format_lr

EPOCHS_PER_HALF_CYCLE = 4
"""Smith recommends a step size of 2 to 10 epochs; 4 lies in the middle of that range on a log scale."""


def step_size_up(steps_per_epoch: int | None) -> int | None:
    """Steps of the rising half of a cycle; None where the loader does not know its length."""
    return None if steps_per_epoch is None else EPOCHS_PER_HALF_CYCLE * steps_per_epoch


def schedule_line(groups: Sequence[GroupRange], *, step_size_up: int | None, cycles_momentum: bool) -> str | None:
    """The line to paste; None where there is no suggestion.

    Without momentum in the optimizer, CyclicLR would either refuse or switch momentum on; `cycle_momentum=False` keeps
    the training that was measured. An unknown step size is left out: CyclicLR's own default is 2000 steps.
    """
    if all(group.max_lr is None for group in groups):
        return None
    base = [group.base_lr or 0.0 for group in groups]
    high = [group.max_lr or 0.0 for group in groups]
    arguments = [f"base_lr={_literal(base)}", f"max_lr={_literal(high)}"]
    if step_size_up is not None:
        arguments.append(f"step_size_up={step_size_up}")
    if not cycles_momentum:
        arguments.append("cycle_momentum=False")
    return f"CyclicLR(optimizer, {', '.join(arguments)})"


def _literal(lrs: Sequence[float]) -> str:
    texts = [format_lr(lr) for lr in lrs]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
