"""What ends a run on several ranks, told by the rank it happened on; and who of them hangs, and who only waits."""

import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

import torch.distributed as dist

from lrtool.errors import Interrupted, LrtoolError, WorkloadError
from lrtool.workload.user_code import failure_of, is_out_of_memory, is_users_file

FailureKind = Literal["oom", "failed", "hung", "gone", "interrupted"]
_SAID: dict[FailureKind, str] = {"oom": "ran out of memory", "failed": "failed", "hung": "hangs", "gone": "is gone"}
_BROKEN_COLLECTIVE = ("gloo", "Connection closed", "Connection reset", "Broken pipe", "NCCL", "abort", "ProcessGroup")


@dataclass(frozen=True, kw_only=True, slots=True)
class RankFailure:
    """What ended a run, and on which rank; `step` is the one it was in, from 1, 0 before the first."""

    rank: int
    kind: FailureKind
    step: int
    message: str
    hint: str
    trace: str | None = None

    def as_error(self) -> LrtoolError:
        place = f"at step {self.step}" if self.step else "before the first step"
        if self.kind == "interrupted":
            return Interrupted(f"interrupted {place}", hint=self.hint)
        said = f"rank {self.rank} {_SAID[self.kind]} {place}"
        return WorkloadError(f"{said}: {self.message}", hint=self.hint, trace=self.trace)


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a rank's main thread stands: its step, the innermost line of the user's, and whether it waits for others there."""

    step: int
    place: str | None
    waits: bool


def failure_by(error: BaseException, *, rank: int, step: int) -> RankFailure:
    """The failure that an exception on this rank is."""
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return RankFailure(rank=rank, kind="interrupted", step=step, message="interrupted", hint="start it again")
    told = error if isinstance(error, LrtoolError) else failure_of(error, doing="the training step")
    kind: FailureKind = "oom" if is_out_of_memory(error.__cause__ or error) else "failed"
    return RankFailure(rank=rank, kind=kind, step=step, message=told.message, hint=told.hint, trace=told.trace)


def is_broken_collective(error: BaseException) -> bool:
    """Whether an error says no more than that another rank has left."""
    cause = error.__cause__ or error if isinstance(error, LrtoolError) else error
    is_of_torch = isinstance(cause, dist.DistError) or type(cause) is RuntimeError
    return is_of_torch and any(word in str(cause) for word in _BROKEN_COLLECTIVE)


def position_of(frame: FrameType | None, *, step: int) -> Position:
    """A rank waits for others where it stands in a collective or in the backward pass."""
    frames = traceback.extract_stack(frame) if frame is not None else []
    users = [each for each in frames if is_users_file(each.filename)]
    place = f"{Path(users[-1].filename).name}:{users[-1].lineno} {users[-1].line}" if users else None
    waits = any("/torch/distributed/" in each.filename or "/torch/autograd/" in each.filename for each in frames[-6:])
    return Position(step=step, place=place, waits=waits)


def hang_of(known: dict[int, Position], *, world_size: int, timeout_s: float) -> RankFailure:
    """Who hangs, of the ranks that say where they stand: one that says nothing, else one that does not wait for others."""
    silent = [rank for rank in range(world_size) if rank not in known]
    rank = silent[0] if silent else min(known, key=lambda rank: (known[rank].waits, known[rank].step))
    position = known.get(rank)
    where = "it does not answer" if position is None else f"it stands in {position.place or 'no line of the workload'}"
    return RankFailure(
        rank=rank,
        kind="hung",
        step=max((each.step for each in known.values()), default=0),
        message=f"no progress for {timeout_s:g} s; {where}",
        hint="a step that takes this long needs a larger --timeout",
    )


def lost(rank: int, *, step: int) -> RankFailure:
    """A rank that left a collective without a word."""
    return RankFailure(
        rank=rank,
        kind="gone",
        step=step,
        message="it ended without a word",
        hint="where nobody killed it, its machine ran out of memory; see the launcher's log",
    )
