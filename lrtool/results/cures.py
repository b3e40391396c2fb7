"""What cures for a shortage of memory do to a workload: bytes, time and loss of each, of the best together, and how."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from lrtool.results.checks import ByteRate, Count, Duration, Size
from lrtool.results.mem_sweep import Recorder

CureOutcome = Literal["helps", "no effect", "costs", "cannot help", "failed", "advice"]
TimeBasis = Literal["measured", "operations"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CureFigures:
    """One trial's figures: peaks in bytes, unpressured where they are predicted.

    `reserved_at_capacity_bytes` is the peak under the capacity. `fits` is None where no capacity is known; a prediction fits
    where it does so even if its assumptions are otherwise. Where it is False and figures were measured, the peaks are those
    up to the failure. `num_operations` are floating-point operations of a step. `loss` is that of the last of `num_steps`
    steps.
    """

    peak_allocated_bytes: Count
    peak_reserved_bytes: Count
    reserved_at_capacity_bytes: Count | None = None
    fits: bool | None = None
    num_operations: Count | None = None
    step_duration_s: Duration | None = None
    loss: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CureEffect:
    """What one cure, or several together, did against the baseline; what is not known is None.

    Saved bytes are negative where it uses more. `time_ratio` is a step's time over the baseline's, "measured" or by
    counting floating-point "operations". `settings` are the allocator's under which it ran, `how` the lines that apply it,
    and `reason` says why it cannot help, or what went wrong.
    """

    name: str
    title: str
    outcome: CureOutcome
    reason: str | None = None
    how: tuple[str, ...] = ()
    note: str | None = None
    settings: str = ""
    figures: CureFigures | None = None
    saved_allocated_bytes: int | None = None
    saved_reserved_bytes: int | None = None
    time_ratio: Annotated[float, Ge(0), Le(1e12)] | None = None
    time_basis: TimeBasis | None = None
    loss_difference: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cures:
    """All cures tried on a workload, in the order of what they save, and the best `together` where at least two help.

    Peaks are those of `recorder`; losses were computed on `loss_device`, really, and are None where nothing was.
    """

    recorder: Recorder
    num_steps: Count
    capacity_bytes: Count | None
    loss_device: str | None
    baseline: CureFigures
    effects: tuple[CureEffect, ...]
    together: CureEffect | None
    was_interrupted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchTry:
    """A batch size that was tried: whether it fits, and what it reserves at most; None where memory ran out."""

    batch_size: Size
    fits: bool
    peak_reserved_bytes: Count | None
    recorder: Recorder


@dataclass(frozen=True, kw_only=True, slots=True)
class MaxBatch:
    """The largest batch size that fits `capacity_bytes`; None where not even one sample does.

    `is_limit_reached` is False where every size up to the largest one tried fits. `is_confirmed` says that it was run on
    the GPU, and is None where there is none. Tries come in the order in which they were made.
    """

    batch_size: Size | None
    capacity_bytes: Count
    current_batch_size: Count | None
    bytes_per_sample: ByteRate | None
    is_limit_reached: bool
    is_confirmed: bool | None
    tries: tuple[BatchTry, ...]
