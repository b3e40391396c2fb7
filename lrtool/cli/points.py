"""The points of a range test as they are measured, a JSON line each, in case its process does not live to store them."""

import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

MAX_PENDING = 50


@dataclass(frozen=True, slots=True)
class _Point:
    ramp: int
    step: int
    lr: "float | Tensor"
    loss: "Tensor"


class Points:
    """Follows the steps of a range test; each point is in the file as soon as its loss is known without waiting for a GPU.

    `tell` hears of the ramp, of its steps, and of how many points there are. The file is made with the first of them.
    """

    FILE: ClassVar[str] = "points.jsonl"

    def __init__(self, run_dir: Path, *, tell: Callable[..., None]) -> None:
        self.kept_in = run_dir.absolute() / self.FILE  # the user's code may change the directory
        self._tell, self._process = tell, os.getpid()
        self._ramp = self._step = self._num_points = 0
        self._file: int | None = None
        self._pending: list[_Point] = []

    def ramp_begins(self) -> None:
        self._flush()
        self._ramp, self._step = self._ramp + 1, 0
        self._tell(ramp=self._ramp, num_begun=0, num_done=0)

    def step_begins(self) -> None:
        self._step += 1
        if self._is_own():
            self._tell(num_begun=self._step)

    def step_ended(self, lr: "float | Tensor", loss: "Tensor") -> None:
        if not self._is_own():
            return
        self._pending.append(_Point(self._ramp, self._step, lr, loss.detach()))
        if loss.device.type == "cpu" or len(self._pending) >= MAX_PENDING:
            self._flush()
        self._tell(num_done=self._step)

    def discard(self) -> None:
        """Remove the file: its points are stored, or nobody needs them."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        with suppress(OSError):
            self.kept_in.unlink()
        self._tell(num_points=0)

    def _is_own(self) -> bool:
        """False in a copy of the process that the user's code forked."""
        return os.getpid() == self._process

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        with suppress(OSError):  # a disk that is full costs this copy, and not the range test
            if pending and self._file is None:
                self._file = os.open(self.kept_in, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            if pending and self._file is not None:
                os.write(self._file, "".join(f"{json.dumps(_row(point))}\n" for point in pending).encode())
                self._num_points += len(pending)
                self._tell(num_points=self._num_points)


def _row(point: _Point) -> dict[str, Any]:
    loss = float(point.loss)
    return {
        "ramp": point.ramp,
        "step": point.step,
        "lr": float(point.lr),
        "loss": loss if math.isfinite(loss) else None,
    }
