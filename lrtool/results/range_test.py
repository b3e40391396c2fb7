"""What a range test measured and suggests."""

from dataclasses import dataclass
from typing import Literal

Confidence = Literal["high", "medium", "low", "none"]
Stopped = Literal["end", "diverged", "non-finite", "loader-ended", "interrupted", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Loss over LR of one ramp; LRs are those of the parameter group with the largest one. All three have equal length."""

    lr: tuple[float, ...]
    loss: tuple[float, ...]
    smoothed_loss: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Lowest and highest smoothed loss over the repeats, at each LR that all of them reached."""

    lr: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRange:
    """The suggestion for one parameter group; None where the curve supports none."""

    base_lr: float | None
    max_lr: float | None
    suggested_lr: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RulePick:
    """What a rule of another finder, as of its `version`, suggests on the same curve; None, and why, where it would not."""

    finder: str
    version: str
    rule: str
    lr: float | None
    why_none: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeTest:
    """What `lrtool range-test` measured and suggests; top-level LRs are those of the group with the largest LR."""

    target: str
    base_lr: float | None
    max_lr: float | None
    suggested_lr: float | None
    param_groups: tuple[GroupRange, ...]
    confidence: Confidence
    rule: str
    reason: str
    advice: str | None
    stopped: Stopped
    stop_reason: str
    num_steps: int
    curve: Curve
    repeats: tuple[Curve, ...]
    band: Band | None
    device: str
    optimizer: str
    steps_per_epoch: int | None
    step_size_up: int | None
    schedule_line: str | None
    duration_s: float
    rules: tuple[RulePick, ...] = ()
