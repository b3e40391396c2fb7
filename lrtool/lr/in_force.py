"""Whether the LR that a run sets is the one that its optimizer steps with, and which line sets another.

The groups are looked at just before and just after the optimizer's own step, by its hooks: a schedule inside the training
step, and an optimizer that writes an LR of its own, are seen there and nowhere else.
"""

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrtool.units import format_lr
from lrtool.workload.optimizers.inner import with_inner
from lrtool.workload.user_code import is_users_file

SAME_LR = 1e-6
"""Relative: what single precision makes of an LR."""
SAME_NORM = 1e-3
LOOKS_APART = 40
"""Steps between two looks at the gradients, so that they cost next to nothing."""
FEWEST_NORMS = 3
Looked = tuple[dict[str, Any], int]
"""A parameter group, and the number of the optimizer's group whose LR it is to have."""


class LrWatch:
    """Sees whether the optimizer steps with the LRs that are set, from __enter__ to __exit__, and which groups have gradients.

    Optimizers inside the optimizer are looked at too. Looking never waits for a GPU: a tensor that nobody wrote to since it
    was set is known by its version.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._hooks: list[Any] = []
        self._looked: list[Looked] = []
        self._asked: list[tuple[Any, int | None]] = []
        self._lrs: Sequence[float] = ()
        self._found: tuple[str, str] | None = None
        self._num_steps = 0
        self._num_looks = 0
        self.with_gradients: frozenset[int] = frozenset()
        self._norms: list[Tensor] = []

    def __enter__(self) -> Self:
        for each in with_inner(self._optimizer):
            looked = _looked_at(each, self._optimizer)
            self._looked += looked
            if hasattr(each, "_optimizer_step_pre_hooks"):  # a class that never called Optimizer.__init__ has none
                name = f"{type(each).__name__}.step()"
                before = self._look(looked, setter=f"what comes before {name}", is_first=not self._hooks)
                self._hooks.append(each.register_step_pre_hook(before))
                self._hooks.append(each.register_step_post_hook(self._look(looked, setter=name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def expect(self, lrs: Sequence[float]) -> None:
        """The groups have just been set to `lrs`, for the step to come."""
        self._lrs = lrs
        self._asked = [(group["lr"], _version(group["lr"])) for group in self._optimizer.param_groups]

    @property
    def is_overridden(self) -> bool:
        """Whether a step so far took another LR."""
        return self._found is not None

    def never_stepped(self) -> str | None:
        """What to say where no optimizer took a step."""
        if self._num_steps or not self._hooks:
            return None
        return f"the training step never calls {type(self._optimizer).__name__}.step(): its learning rate moves nothing"

    def explained(self, step: Callable[[], object]) -> str:
        """What was found, and the line that sets it: `step`, which sets the LRs first, is followed line by line."""
        assert self._found is not None
        what, setter = self._found
        place: str | None = None
        with suppress(Exception):  # what was found stands, whatever comes of one step more
            place = line_of_change(step, lambda: any(self._differ(group, index) for group, index in self._looked))
        return f"something else sets the learning rate: {what}; set by {place or setter}"

    def clipped_part(self) -> float:
        """The part of the gradients looked at that are as long as the longest one, as clipped ones are."""
        norms = [norm for norm in torch.stack(self._norms).tolist() if math.isfinite(norm)] if self._norms else []
        longest = max(norms, default=0.0)
        if len(norms) < FEWEST_NORMS or longest == 0:
            return 0.0
        part = sum(math.isclose(norm, longest, rel_tol=SAME_NORM) for norm in norms) / len(norms)
        return part if part > 1 / len(norms) else 0.0

    def _look_at_gradients(self) -> None:
        if self._num_looks % LOOKS_APART == 0:
            self._norms.append(gradient_norm(self._optimizer))
            self.with_gradients |= _with_gradients(self._optimizer)
        self._num_looks += 1

    def _look(self, looked: Sequence[Looked], *, setter: str, is_first: bool = False) -> Callable[..., None]:
        def look(*_: Any) -> None:
            self._num_steps += 1
            if is_first:
                self._look_at_gradients()
            for group, index in looked:
                value, version = self._asked[index]
                lr = group.get("lr")
                if lr is value and (version is None or lr._version == version):
                    continue
                if self._found is None and self._differ(group, index):
                    told = f"{format_lr(float(group['lr']))} at the step, not {format_lr(self._lrs[index])}"
                    self._found = told, setter

        return look

    def _differ(self, group: dict[str, Any], index: int) -> bool:
        lr = group.get("lr")
        return lr is not None and not math.isclose(float(lr), self._lrs[index], rel_tol=SAME_LR)


def _with_gradients(optimizer: Optimizer) -> frozenset[int]:
    groups = enumerate(optimizer.param_groups)
    return frozenset(index for index, group in groups if any(each.grad is not None for each in group["params"]))


def gradient_norm(optimizer: Optimizer) -> Tensor:
    """The length of all gradients together, on their device."""
    gradients = [each.grad for group in optimizer.param_groups for each in group["params"] if type(each.grad) is Tensor]
    return nn.utils.get_total_norm([each for each in gradients if not each.is_sparse])


def _version(lr: Any) -> int | None:
    return lr._version if isinstance(lr, Tensor) else None


def _looked_at(optimizer: Optimizer, outer: Optimizer) -> list[Looked]:
    """The optimizer's groups, each with that group of the outer one which holds its first parameter."""
    owners = {id(each): index for index, group in enumerate(outer.param_groups) for each in group["params"]}
    found = []
    for group in getattr(optimizer, "param_groups", ()):
        index = next((owners[id(each)] for each in group["params"] if id(each) in owners), None)
        if index is not None:
            found.append((group, index))
    return found


def line_of_change(step: Callable[[], object], has_changed: Callable[[], bool]) -> str | None:
    """`file.py:line` of the line of the user's code after which something had changed, while `step` runs; None for none."""
    last: str | None = None
    found: list[str | None] = []

    def follow(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal last
        if not found and has_changed():
            found.append(last)
        last = _place(frame.f_back if event == "return" else frame) or last
        return follow

    before = sys.gettrace()
    sys.settrace(lambda frame, event, _: follow(frame, event, _) if _is_users(frame) and not found else None)
    try:
        step()
    finally:
        sys.settrace(before)
    return found[0] if found else last if has_changed() else None


def _place(frame: FrameType | None) -> str | None:
    """The line of the innermost frame, from `frame` outwards, that is the user's."""
    while frame is not None and not _is_users(frame):
        frame = frame.f_back
    return None if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _is_users(frame: FrameType) -> bool:
    return _is_users_file(frame.f_code.co_filename)


_is_users_file = lru_cache(maxsize=512)(is_users_file)
