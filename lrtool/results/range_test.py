"""What a range test measured and suggests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from lrtool.option import Positive
from lrtool.results.checks import Count, Duration, Exponent, LearningRate, NonEmpty, Spread, check_columns
from lrtool.results.ranks import Ranks

Confidence = Literal["high", "medium", "low", "none"]
ConfirmingSchedule = Literal["cyclic", "constant", "one-cycle"]
Stopped = Literal["end", "diverged", "non-finite", "loader-ended", "overridden", "interrupted", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Loss over LR of one ramp; LRs are those of the parameter group with the largest one. All three have equal length."""

    lr: Annotated[tuple[LearningRate, ...], NonEmpty]
    loss: tuple[float, ...]
    smoothed_loss: tuple[float, ...]

    def __post_init__(self) -> None:
        check_columns(self, "lr", "loss", "smoothed_loss")


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Lowest and highest smoothed loss over the repeats, at each LR that all of them reached."""

    lr: tuple[LearningRate, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        check_columns(self, "lr", "low", "high")


@dataclass(frozen=True, kw_only=True, slots=True)
class Landmarks:
    """Places on a smoothed curve, as LRs; None where the curve does not reach them.

    `settled` is where nine tenths of the descent are done, `drop` how far the loss fell, `noise` the standard deviation of the
    raw losses around the smoothed ones up to the minimum, `noise_at_minimum` the same shortly before it, `second_descent`
    where the loss comes down again after it had diverged, `plateau` where it rests halfway.
    """

    descent: LearningRate
    half_descent: LearningRate
    minimum: LearningRate
    settled: LearningRate | None = None
    upturn: LearningRate | None
    divergence: LearningRate | None
    second_descent: LearningRate | None
    plateau: LearningRate | None
    drop: float
    noise: Spread
    noise_at_minimum: Spread
    falls_from_start: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Around an LR of the group with the largest one: where 90 % of curves as noisy as this one would have put it.

    After confirming runs, half of their spacing to each side.
    """

    low: LearningRate
    high: LearningRate


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRange:
    """The suggestion for one parameter group; None where the curve supports none, or the group keeps out of training."""

    base_lr: LearningRate | None
    max_lr: LearningRate | None
    suggested_lr: LearningRate | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmingRun:
    """A short training run from the initial weights with `max_lr` as its largest LR, or as its constant one.

    `final_loss` is the mean of the last training losses, or of the validation loss (`val_loss`, of each batch that judged it);
    None where the run diverged. Runs that
    are shorter than the longest ones were dropped after their round.
    """

    schedule: ConfirmingSchedule
    max_lr: LearningRate
    loss: tuple[float, ...]
    final_loss: float | None
    val_loss: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """What the confirming runs said: the best of them, and by how much over the second best, in its standard errors.

    `margin` is how much lower the winner's final loss is; `margin_over_noise` compares the two step by step on the same
    batches, or by validation batches where these judge. None where there is no second run, or no spread.
    """

    schedule: Literal["cyclic", "constant", "super-convergence"]
    judged_by: Literal["train", "val"]
    budget_steps: Count
    num_steps: Count
    runs: tuple[ConfirmingRun, ...]
    winner: ConfirmingRun | None
    margin: float | None
    margin_over_noise: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RulePick:
    """What a rule of another finder, as of its `version`, suggests on the same curve; None, and why, where it would not."""

    finder: str
    version: str
    rule: str
    lr: LearningRate | None
    why_none: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupTest:
    """One parameter group ramped alone, the others held at LR 0: its curve and what that suggests by itself.

    `half_descent` is the LR at which half of the descent is done; None, as `range`, where the curve shows no descent.
    """

    num_parameters: Count
    curve: Curve
    half_descent: LearningRate | None
    range: GroupRange
    confidence: Confidence
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerTest:
    """One of several optimizers, ramped while the others kept the LRs that they were given; fields as in a RangeTest."""

    name: str
    optimizer: str
    base_lr: LearningRate | None
    max_lr: LearningRate | None
    suggested_lr: LearningRate | None
    param_groups: Annotated[tuple[GroupRange, ...], NonEmpty]
    confidence: Confidence
    reason: str
    advice: str | None
    num_steps: Count
    curve: Curve
    schedule_line: str | None
    snippet: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSizeTest:
    """One range test at one batch size (samples in an optimizer step) from one seed; LRs of the group with the largest."""

    batch_size: Positive
    seed: int
    base_lr: LearningRate | None
    max_lr: LearningRate | None
    suggested_lr: LearningRate | None
    confidence: Confidence


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerLaw:
    """LR = factor * batch_size ** exponent over `num_points` tests; `low` to `high` is the exponent's 95 % interval."""

    exponent: Exponent
    low: float | None
    high: float | None
    factor: LearningRate
    num_points: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchScaling:
    """Range tests at several batch sizes, and the law their max_lr and suggested_lr follow.

    None where a size has no suggestion, or there are fewer than three sizes.
    """

    tests: tuple[BatchSizeTest, ...]
    max_lr: PowerLaw | None
    suggested_lr: PowerLaw | None


FEWEST_SIZES = 3
"""Two sizes have a ratio: a line goes through any two points, and nothing says how far to trust it."""


def unsupported_sizes(points: Sequence[tuple[int, float | None]]) -> tuple[int, ...]:
    """The batch sizes, of pairs of size and suggestion, at which no more than half of the seeds have a suggestion."""
    sizes = sorted({size for size, _ in points})
    found = {size: [lr is not None for each, lr in points if each == size] for size in sizes}
    return tuple(size for size in sizes if 2 * sum(found[size]) <= len(found[size]))


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeTest:
    """What `lrtool range-test` measured and suggests; top-level LRs are those of the group with the largest LR.

    `num_steps` are all that were taken, of ramps that began too high (`false_starts`), of confirming runs, and of those that
    settled a doubt which the curve left (`doubt_runs`) too. It holds for
    `batch_size` samples in an optimizer step and for `optimizer_settings`, a value for each group by name. `ranks` is
    None where the run was not spread over several processes. `schedule_line` and `one_cycle_line` are calls, `snippet` is what
    to paste in the training's framework, line by line; `group_names` are empty where the groups have none.
    Of several optimizers it is about the one called `optimizer_name`; where each was ramped in turn, that is the first of
    `optimizer_tests`.
    """

    target: str
    base_lr: LearningRate | None
    max_lr: LearningRate | None
    suggested_lr: LearningRate | None
    param_groups: Annotated[tuple[GroupRange, ...], NonEmpty]
    base_lr_interval: Interval | None = None
    max_lr_interval: Interval | None = None
    suggested_lr_interval: Interval | None = None
    confidence: Confidence
    rule: str
    reason: str
    advice: str | None
    stopped: Stopped
    stop_reason: str
    num_steps: Count
    curve: Curve
    repeats: tuple[Curve, ...]
    band: Band | None
    landmarks: Landmarks | None = None
    confirmation: Confirmation | None = None
    doubt_runs: tuple[ConfirmingRun, ...] = ()
    false_starts: tuple[Curve, ...] = ()
    device: str
    optimizer: str
    steps_per_epoch: Count | None
    step_size_up: Count | None
    schedule_line: str | None
    duration_s: Duration
    ranks: Ranks | None = None
    rules: tuple[RulePick, ...] = ()
    optimizer_settings: dict[str, tuple[float, ...]] = field(default_factory=dict)
    batch_size: Count | None = None
    group_tests: tuple[GroupTest, ...] = ()
    batch_scaling: BatchScaling | None = None
    one_cycle_line: str | None = None
    snippet: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    optimizer_name: str | None = None
    optimizer_tests: tuple[OptimizerTest, ...] = ()

    def __post_init__(self) -> None:
        if self.group_tests:
            check_columns(self, "param_groups", "group_tests")
        if self.group_names:
            check_columns(self, "param_groups", "group_names")
