"""What a prediction took for granted, and what that may move."""

from dataclasses import dataclass
from typing import Literal

from lrtool.results.checks import Count, Size

AssumptionKind = Literal["value", "size", "kernel", "workspace", "convolution", "capture", "compiler", "devices"]
"""A number or truth value that data decide; the size of a selection; which kernel runs; what it allocates for itself; the same
of cuDNN's convolutions, for which there is no exact model; a CUDA graph taken as the steps it holds; a compiled function taken
as it is written; how many GPUs there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumption:
    """One thing that a prediction took for granted.

    `source` is the line that asked (`file.py:41`), `asked` what it wanted to know, `taken` the answer, `times` how often.
    `below_bytes` and `above_bytes` tell how far the peak of allocated memory may lie below and above the predicted one if
    it is otherwise; None where nobody looked.
    """

    kind: AssumptionKind
    source: str | None
    asked: str
    taken: str
    times: Size = 1
    below_bytes: Count | None = None
    above_bytes: Count | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PeakInterval:
    """Between which bytes a predicted peak lies if any of its assumptions is otherwise."""

    low_allocated_bytes: Count
    high_allocated_bytes: Count
    low_reserved_bytes: Count
    high_reserved_bytes: Count

    @property
    def allocated_ends(self) -> tuple[int, int]:
        return self.low_allocated_bytes, self.high_allocated_bytes

    @property
    def reserved_ends(self) -> tuple[int, int]:
        return self.low_reserved_bytes, self.high_reserved_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class CardMemory:
    """What one process takes of a card, as nvidia-smi shows it: what is reserved, the CUDA context, and communicators.

    It is likely `likely_bytes`, between the other two; `source` tells where the context's figure is from.
    """

    low_bytes: Count
    likely_bytes: Count
    high_bytes: Count
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceMemory:
    """The peaks on one of several devices, and whether it runs out of memory; then they are those up to there."""

    device: str
    peak_allocated_bytes: Count
    peak_reserved_bytes: Count
    runs_out: bool
