"""CyclicLR arithmetic (Smith 2015, arXiv:1506.01186): how long a half-cycle is, and the lines of code that set it up. Pure."""

from collections.abc import Sequence

from lrtool.results import GroupRange
from lrtool.units import format_lr

EPOCHS_PER_HALF_CYCLE = 4
"""Smith recommends a step size of 2 to 10 epochs; 4 lies in the middle of that range on a log scale."""
KEEP_MOMENTUM = "cycle_momentum=False"
"""Without it CyclicLR and OneCycleLR set momentum and beta1 to values of their own, from 0.9 to 0.8 and from 0.95 to 0.85,
whatever the optimizer was given and the range was measured with."""


def step_size_up(steps_per_epoch: int | None) -> int | None:
    """Steps of the rising half of a cycle; None where the loader does not know its length."""
    return None if steps_per_epoch is None else EPOCHS_PER_HALF_CYCLE * steps_per_epoch


def schedule_line(
    groups: Sequence[GroupRange], *, step_size_up: int | None, optimizer: str = "optimizer"
) -> str | None:
    """The call to paste; None where no group has a suggestion.

    An unknown step size is left out: CyclicLR's own is 2000 steps.
    """
    if all(group.max_lr is None for group in groups):
        return None
    base, high = [group.base_lr for group in groups], [group.max_lr for group in groups]
    steps = [] if step_size_up is None else [f"step_size_up={step_size_up}"]
    return _call("CyclicLR", optimizer, f"base_lr={_literal(base)}", f"max_lr={_literal(high)}", *steps)


def one_cycle_line(
    groups: Sequence[GroupRange], *, steps_per_epoch: int | None, optimizer: str = "optimizer"
) -> str | None:
    """The same for OneCycleLR, which has to know how long the training is: `num_epochs`, or `num_steps`, is the user's."""
    high = [group.max_lr for group in groups]
    if all(each is None for each in high):
        return None
    length = (
        ["total_steps=num_steps"]
        if steps_per_epoch is None
        else ["epochs=num_epochs", f"steps_per_epoch={steps_per_epoch}"]
    )
    return _call("OneCycleLR", optimizer, f"max_lr={_literal(high)}", *length)


def _call(name: str, *arguments: str) -> str:
    return f"{name}({', '.join([*arguments, KEEP_MOMENTUM])})"


def _literal(lrs: Sequence[float | None]) -> str:
    """One number where all groups have the same, else a list; a group that keeps out has 0."""
    texts = [format_lr(lr or 0.0) for lr in lrs]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
