"""What to try against a shortage of memory: each cure changes a built workload, and carries the lines that do the same in
the user's own code.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lrtool.diagnosis.cures import batches, forward, optimizers
from lrtool.diagnosis.cures.applied import AppliedCure, CureOptions
from lrtool.diagnosis.cures.checkpointing import checkpoint_model
from lrtool.errors import UsageError, did_you_mean
from lrtool.workload.workload import Workload

Alters = Literal["nothing", "rounding", "training"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cure:
    """One thing to try.

    `alters` says what becomes of the training: "nothing", its "rounding" only, or the "training" itself, which needs another
    look at the learning rate. `keeps_batches` says that losses can be compared step by step, `time_by_operations` that
    counting operations tells how much longer a step takes. Cures of one `family` exclude each other.
    """

    name: str
    title: str
    apply: Callable[[Workload, CureOptions], AppliedCure]
    alters: Alters = "nothing"
    keeps_batches: bool = True
    time_by_operations: bool = False
    family: str | None = None
    note: str | None = None


CURES = (
    Cure(
        name="bf16", title="bf16 autocast", apply=forward.autocast, alters="rounding",
        note="may take more where weights dominate: it keeps fp32 weights and makes bf16 copies",
    ),
    Cure(
        name="checkpointing", title="activation checkpointing", apply=checkpoint_model, time_by_operations=True,
        note="computes the forward pass of each block twice",
    ),
    Cure(
        name="accumulation", title="gradient accumulation", apply=batches.accumulate, time_by_operations=True,
        family="batch", note="same effective batch in smaller pieces; BatchNorm sees the pieces",
    ),
    Cure(
        name="half-batch", title="half the batch", apply=batches.halve, alters="training", keeps_batches=False,
        time_by_operations=True, family="batch", note="other gradients: look for the learning rate again",
    ),
    Cure(name="foreach-off", title="foreach=False", apply=optimizers.without_foreach, family="optimizer"),
    Cure(name="fused", title="fused optimizer", apply=optimizers.fused, alters="rounding", family="optimizer"),
    Cure(name="set-to-none", title="gradients set to None", apply=optimizers.set_to_none),
    Cure(
        name="8-bit", title="8-bit optimizer state", apply=optimizers.in_8_bits, alters="rounding",
        family="optimizer", note="states of parameters below 4,096 elements stay in 32 bits",
    ),
    Cure(
        name="small-state", title="optimizer with less state", apply=optimizers.small_state, alters="training",
        family="optimizer", note="another optimizer: look for the learning rate again",
    ),
    Cure(
        name="empty-cache", title="empty_cache() each step", apply=forward.empty_cache,
        note="the device is asked anew for memory in each step, which waits for it",
    ),
    Cure(name="no-grad", title="no_grad in evaluation", apply=forward.no_grad_in_evaluation),
    Cure(
        name="longest-first", title="longest batch first", apply=batches.longest_first, keeps_batches=False,
        note="runs out at once or not at all; later, shorter batches fit into what it reserved",
    ),
    Cure(name="bucketing", title="length bucketing", apply=batches.bucket_lengths, alters="training"),
)  # fmt: skip
"""In the order in which they are applied together."""
NAMES = tuple(cure.name for cure in CURES)


def find_cures(names: Iterable[str]) -> tuple[Cure, ...]:
    """The cures of these names, in the order in which they are applied. Raises UsageError."""
    wanted = list(names)
    for name in wanted:
        if name not in NAMES:
            raise UsageError(f"unknown cure {name!r}", hint=did_you_mean(name, NAMES))
    return tuple(cure for cure in CURES if cure.name in wanted)


def apply_cures(workload: Workload, cures: Sequence[Cure], options: CureOptions) -> AppliedCure:
    """The workload with all of the cures, one after the other, and their lines. Raises CannotHelp, UsageError."""
    lines: list[str] = []
    if options.batch_size is not None:
        workload = batches.resized(workload, options.batch_size)
    for cure in cures:
        treatment = cure.apply(workload, options)
        workload = treatment.workload
        lines += treatment.how
    return AppliedCure(workload=workload, how=tuple(dict.fromkeys(lines)))
