"""What to paste after a range test, in the framework that the training is written in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill, indent

from lrtool.lr.cyclic import one_cycle_line, schedule_line
from lrtool.results import GroupRange
from lrtool.units import format_lr
from lrtool.workload.frameworks.framework import Framework

WIDTH = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What a snippet has to know of the training besides its LRs.

    `optimizer` is the name of the optimizer's class, `variable` the expression that it goes by. With `has_initial_lr` the
    groups remember the LR of a scheduler that was made before.
    """

    framework: Framework
    optimizer: str
    step_size_up: int | None
    steps_per_epoch: int | None
    group_names: tuple[str, ...] = ()
    has_initial_lr: bool = False
    variable: str = "optimizer"


def snippet(groups: Sequence[GroupRange], training: Training) -> tuple[str, ...]:
    """The lines of code; none where there is no suggestion."""
    if any(group.max_lr is None or group.base_lr is None for group in groups):
        return ()
    code = {"torch": _torch, "lightning": _lightning, "transformers": _transformers}[training.framework]
    return tuple(code(groups, training).splitlines())


def _torch(groups: Sequence[GroupRange], training: Training) -> str:
    return "\n".join([*_fresh(training), *_names(groups, training), *_schedules(groups, training)])


def _lightning(groups: Sequence[GroupRange], training: Training) -> str:
    """Lightning steps a scheduler once an epoch unless it is told otherwise."""
    if training.variable != "optimizer":
        return _torch(groups, training)
    body = [
        f"optimizer = ...  # {training.optimizer}, made as it is now",
        *_names(groups, training),
        *_schedules(groups, training),
        'lr_scheduler = {"scheduler": scheduler, "interval": "step"}',
        'return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}',
    ]
    return "\n".join(["def configure_optimizers(self):", indent("\n".join(body), "    ")])


def _transformers(groups: Sequence[GroupRange], training: Training) -> str:
    """The Trainer has one LR for all groups, and keeps a scheduler that it is given."""
    lrs = {format_lr(group.suggested_lr) for group in groups if group.suggested_lr is not None}
    one = f"TrainingArguments(..., learning_rate={min(lrs)})  # constant, or decaying"
    first = [one, "# or in cycles, before trainer.train():"]
    if len(lrs) > 1:
        first = ["# TrainingArguments has one learning_rate for all; before trainer.train():"]
    return "\n".join(
        [
            *first,
            "optimizer = trainer.create_optimizer()",
            *_names(groups, training),
            *_schedules(groups, training),
            "trainer.lr_scheduler = scheduler",
        ]
    )


def _fresh(training: Training) -> list[str]:
    """CyclicLR takes its first step at the LR that an earlier scheduler left in the groups (pytorch/pytorch#21965)."""
    if not training.has_initial_lr:
        return []
    return [
        "# instead of the scheduler there is now, whose first LR is still in the groups:",
        f"for group in {training.variable}.param_groups:",
        '    group.pop("initial_lr", None)',
    ]


def _names(groups: Sequence[GroupRange], training: Training) -> list[str]:
    differ = len({(group.base_lr, group.max_lr) for group in groups}) > 1
    return [f"# groups: {', '.join(training.group_names)}"] if differ and training.group_names else []


def _schedules(groups: Sequence[GroupRange], training: Training) -> list[str]:
    cyclic = schedule_line(groups, step_size_up=training.step_size_up, optimizer=training.variable)
    one_cycle = one_cycle_line(groups, steps_per_epoch=training.steps_per_epoch, optimizer=training.variable)
    assert cyclic is not None
    assert one_cycle is not None
    return [_folded(f"scheduler = {cyclic}"), *(f"# {line}" for line in _folded(f"or {one_cycle}").splitlines())]


def _folded(statement: str) -> str:
    """A call that is too long for a line, with its arguments on lines of their own; short lists stay in one piece."""
    if len(statement) <= WIDTH:
        return statement
    head, _, rest = statement.partition("(")
    kept = _LIST.sub(lambda found: found[0].replace(" ", _BLANK), rest.removesuffix(")") + ",")
    inner = fill(kept, WIDTH - _MARGIN, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    return f"{head}(\n{inner.replace(_BLANK, ' ')}\n)"


_LIST, _BLANK = re.compile(r"\[[^]]{,40}\]"), "\0"
_MARGIN = 6
"""What a line may be indented by, or is behind as a comment: both in a method."""
