"""What a range test measured and suggests."""

from dataclasses import dataclass, field
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
class GroupTest:
    """One parameter group ramped alone, the others held at LR 0: its curve and what that suggests by itself.

    `half_descent` is the LR at which half of the descent is done; None, as `range`, where the curve shows no descent.
    """

    num_parameters: int
    curve: Curve
    half_descent: float | None
    range: GroupRange
    confidence: Confidence
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSizeTest:
    """One range test at one batch size (samples in an optimizer step) from one seed; LRs of the group with the largest."""

    batch_size: int
    seed: int
    base_lr: float | None
    max_lr: float | None
    suggested_lr: float | None
    confidence: Confidence


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerLaw:
    """LR = factor * batch_size ** exponent over `num_points` tests; `low` to `high` is the exponent's 95 % interval."""

    exponent: float
    low: float | None
    high: float | None
    factor: float
    num_points: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchScaling:
    """Range tests at several batch sizes, and the law their max_lr and suggested_lr follow; None where too few have one."""

    tests: tuple[BatchSizeTest, ...]
    max_lr: PowerLaw | None
    suggested_lr: PowerLaw | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeTest:
    """What `lrtool range-test` measured and suggests; top-level LRs are those of the group with the largest LR.

    It holds for `batch_size` samples in an optimizer step and for `optimizer_settings`, a value for each group by name.
    """

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
    optimizer_settings: dict[str, tuple[float, ...]] = field(default_factory=dict)
    batch_size: int | None = None
    group_tests: tuple[GroupTest, ...] = ()
    batch_scaling: BatchScaling | None = None
