"""What trials measured or predicted of memory, and the verdict over a sweep of them."""

from dataclasses import dataclass, field, fields
from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from lrtool.option import STRICT, Option, Positive
from lrtool.results.assumptions import Assumption, CardMemory, DeviceMemory, PeakInterval
from lrtool.results.checks import ByteRate, Count, Duration, NonEmpty, Ratio, Size, Spread, check_columns
from lrtool.results.metric import RESERVED_IS_NOISY, Metric
from lrtool.results.oom import TrialOom
from lrtool.results.ranks import Ranks

Recorder = Literal["cuda", "predicted", "cpu"]
Schedule = Literal["cyclic", "onecycle", "constant", "own"]
"""What sets the LR: torch's CyclicLR or OneCycleLR, nothing, or the scheduler that build() returns."""
Mode = Literal["triangular", "triangular2", "exp_range"]
ScaleMode = Literal["cycle", "iterations"]
Precision = Literal["fp32", "bf16", "fp16"]
PerGroup = tuple[float, ...] | float
"""One value for all parameter groups, or one for each of them."""
Shard = Literal["none", "fsdp2"]
"""How a simulated rank holds parameters, gradients and optimizer state: whole, under DDP, or its part of them."""
OptimizerKernel = Literal["foreach", "fused", "single"]
"""How an optimizer takes its step: over lists of tensors, in one kernel, or one tensor after the other."""
TrialStatus = Literal["ok", "oom", "failed", "killed", "timeout", "interrupted"]


def is_measured(recorder: Recorder) -> bool:
    """Whether the figures come from the accelerator itself; another accelerator's recorder is named here."""
    return recorder == "cuda"


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSeries:
    """Memory of one trial over its steps, one entry a step, all of equal length: bytes at the step's end, the peak within
    the step, and cumulative counts. The first entry is that of step 1.
    """

    allocated_bytes: tuple[Count, ...]
    active_bytes: tuple[Count, ...]
    reserved_bytes: tuple[Count, ...]
    inactive_split_bytes: tuple[Count, ...]
    requested_bytes: tuple[Count, ...]
    peak_allocated_bytes: tuple[Count, ...]
    num_alloc_retries: tuple[Count, ...]
    num_device_allocs: tuple[Count, ...]

    def __post_init__(self) -> None:
        check_columns(self, *(each.name for each in fields(self)))


@dataclass(frozen=True, kw_only=True, slots=True)
class StepGrowth:
    """Bytes by which allocated memory at the step's end grows per step, with its 95 % interval; `warmup_steps` are left
    out, and steps are compared `period_steps` apart, so that what repeats with that period is no growth.
    """

    bytes_per_step: ByteRate
    low_bytes_per_step: ByteRate
    high_bytes_per_step: ByteRate
    warmup_steps: Count
    period_steps: Size


GraphKept = Literal["each", "summed", "chained", "gradients"]
"""How a graph keeps storages alive: that of each tensor that is kept; of one number to which losses are added, or one state
that is carried from step to step, those of all steps; or the gradients that `create_graph=True` made hold theirs."""

LRU_CACHE = "functools.lru_cache"
"""What the name of a container begins with that is such a cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthSource:
    """Where storages that stay were born, as `file.py:line`, the text of that line, what holds them, and their bytes.

    `graph` tells how an autograd graph keeps them, None where none does or that was not looked at. `may_end` is False
    where nothing takes anything out of the container, and None where that is not known; it is full at `until_step`.
    """

    source: str
    line: str | None
    container: str | None
    bytes_per_step: ByteRate
    graph: GraphKept | None = None
    may_end: bool | None = None
    until_step: Count | None = None

    @property
    def text(self) -> str:
        """ "train.py:41 history.append(loss)"."""
        return " ".join(part for part in (self.source, self.line) if part)

    @property
    def is_cache(self) -> bool:
        """Whether a cache of Python's own holds them."""
        return (self.container or "").startswith(LRU_CACHE)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeakShare:
    """Bytes that were allocated at the peak: what for, by which module, and from which line (`file.py:41` and its text)."""

    category: str | None
    module: str | None
    source: str | None
    line: str | None
    num_bytes: Count


_axis = partial(Option, panel="Varied: several values, separated by commas, give a trial each")
_Lr = Annotated[float, Gt(0)]
_Momentum = Annotated[float, Ge(0), Lt(1)]
_Lrs = tuple[_Lr | Annotated[tuple[_Lr, ...], MinLen(1)], ...] | _Lr
_Momenta = tuple[_Momentum | Annotated[tuple[_Momentum, ...], MinLen(1)], ...] | _Momentum
_VALUES = "VALUES"
_LR_DEFAULT = "Default: of the last range test of the target, else the optimizer's."


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepAxes:
    """The values that a sweep tries, each with every value of the others; none leaves things as they are."""

    __pydantic_config__ = STRICT

    step_sizes: Annotated[tuple[Positive, ...], MinLen(1), _axis("CyclicLR's step_size_up.")] = (2500, 3000, 3500)
    step_size_down: Annotated[tuple[Positive, ...], _axis("CyclicLR's step_size_down. Default: step_size_up.")] = ()
    schedule: Annotated[
        tuple[Schedule, ...],
        MinLen(1),
        _axis("cyclic, onecycle, constant, or own: the scheduler that build() returns."),
    ] = ("cyclic",)
    mode: Annotated[tuple[Mode, ...], MinLen(1), _axis("triangular, triangular2 or exp_range.")] = ("triangular",)
    gamma: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1), _axis("Of exp_range.")] = (1.0,)
    scale_fn: Annotated[
        tuple[str, ...],
        _axis("CyclicLR's scale_fn, as file.py:function, instead of a mode.", metavar="FILE:FUNCTION"),
    ] = ()
    scale_mode: Annotated[
        tuple[ScaleMode, ...], _axis("What --scale-fn gets: cycle or iterations. Default: cycle.")
    ] = ()
    base_lr: Annotated[
        _Lrs, _axis("Of all groups in the ratio they have, or [LR,LR], one for each. " + _LR_DEFAULT, metavar=_VALUES)
    ] = ()
    max_lr: Annotated[_Lrs, _axis("Likewise.", metavar=_VALUES)] = ()
    cycle_momentum: Annotated[
        tuple[bool, ...],
        _axis("true or false. Default: false, or true with the ends of the cycle.", metavar="BOOLS"),
    ] = ()
    base_momentum: Annotated[
        _Momenta, _axis("Where momentum, or beta1, is at max_lr; a value or [VALUE,VALUE].", metavar=_VALUES)
    ] = ()
    max_momentum: Annotated[_Momenta, _axis("Where it is at base_lr.", metavar=_VALUES)] = ()
    last_epoch: Annotated[
        tuple[Annotated[int, Ge(-1), Le(1_000_000)], ...],
        MinLen(1),
        _axis("The step after which the schedule goes on; -1: from its start."),
    ] = (-1,)
    settings: Annotated[
        tuple[str, ...],
        MinLen(1),
        _axis(
            "PYTORCH_CUDA_ALLOC_CONF, as it is written; repeatable: a trial each. Default: torch's own.",
            is_repeatable=True,
        ),
    ] = ("",)
    precision: Annotated[tuple[Precision, ...], _axis("fp32, bf16 or fp16. Default: the workload's.")] = ()
    batch_size: Annotated[tuple[Positive, ...], _axis("As --param batch_size=... . Default: build()'s.")] = ()
    world_size: Annotated[
        tuple[Positive, ...], _axis("Simulated ranks: what one of so many takes, predicted without them.")
    ] = ()
    shard: Annotated[tuple[Shard, ...], MinLen(1), _axis("With --world-size: none (DDP) or fsdp2 (fully_shard).")] = (
        "none",
    )
    optimizer_kernel: Annotated[
        tuple[OptimizerKernel, ...], _axis("foreach, fused or single. Default: the workload's.")
    ] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One value of each axis: under it one trial runs. `settings` are the allocator's, `params` arguments of build().

    With a `world_size` the trial is one of so many simulated ranks. LRs are None where all trials have the same.
    """

    step_size_up: Positive
    step_size_down: Positive
    schedule: Schedule
    mode: Mode
    gamma: Annotated[float, Gt(0)]
    scale_mode: ScaleMode
    settings: str
    precision: Precision | None
    params: dict[str, Any]
    world_size: Positive | None = None
    shard: Shard = "none"
    optimizer_kernel: OptimizerKernel | None = None
    scale_fn: str | None = None
    base_lr: PerGroup | None = None
    max_lr: PerGroup | None = None
    cycle_momentum: bool | None = None
    base_momentum: PerGroup | None = None
    max_momentum: PerGroup | None = None
    last_epoch: Annotated[int, Ge(-1)] = -1


_noisy = partial(Metric, caution=RESERVED_IS_NOISY)
AXES = tuple(field.name for field in fields(Condition) if field.name != "params")
"""What a sweep can vary besides arguments of build()."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of a workload under one condition in a process of its own; bytes. Its steps are in `steps.csv` beside it.

    `repeat` counts from 0, `position` is its place in the order in which trials ran. Figures are None where the trial
    ended before there were any; `other_processes_bytes` is known on a GPU only. `most_by_category` are the most
    requested bytes of each category, each at its own time, of a traced run. Where a launcher started several `ranks`, the
    figures are those of the rank that ended the trial, else of the one that took the most. Of a prediction, `assumptions`
    are what it took for granted, and `peak_interval` where the peaks lie if any of that is otherwise; None: they are exact.
    `on_card` is what nvidia-smi would show. Where it trains on several `devices`, the figures are those of the fullest.
    """

    number: Count
    condition: Condition
    repeat: Count
    position: Count
    seed: int
    num_steps: Count
    num_steps_done: Count
    num_steps_traced: Count | None
    status: TrialStatus
    message: str | None
    recorder: Recorder
    max_memory_allocated_bytes: Annotated[Count | None, Metric("peak_allocated", "bytes", is_peak=True)] = None
    max_memory_reserved_bytes: Annotated[Count | None, _noisy("peak_reserved", "bytes", is_peak=True)] = None
    max_memory_active_bytes: Annotated[Count | None, Metric("peak_active", "bytes", is_peak=True)] = None
    fragmentation: Annotated[Ratio | None, _noisy("fragmentation", "ratio")] = None
    split_fragmentation: Annotated[Ratio | None, _noisy("split_fragmentation", "ratio")] = None
    largest_free_ratio: Annotated[Ratio | None, _noisy("largest_free_ratio", "ratio")] = None
    inactive_split_bytes: Annotated[Count | None, _noisy("inactive_split", "bytes")] = None
    num_alloc_retries: Annotated[Count | None, Metric("alloc_retries", "count")] = None
    device_allocs_per_step: Annotated[Spread | None, Metric("device_allocs_per_step", "count")] = None
    growth: Annotated[StepGrowth | None, Metric("growth", "bytes per step", is_estimate=True)]
    growth_sources: tuple[GrowthSource, ...]
    peak_shares: tuple[PeakShare, ...] = ()
    death: TrialOom | None
    other_processes_bytes: Count | None
    duration_s: Duration
    most_by_category: dict[str, Count] = field(default_factory=dict)
    ranks: Ranks | None = None
    peak_interval: PeakInterval | None = None
    assumptions: tuple[Assumption, ...] = ()
    on_card: CardMemory | None = None
    devices: tuple[DeviceMemory, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a sweep says: one sentence, its figures, and the evidence line by line.

    `step_size_matters` is None where no two trials can be compared; `noise_bytes` is the largest difference between
    repeats of one condition, None without repeats. `forecast_step` is where the capacity is reached; of the swept step
    sizes those of `ends_before` finish by then, those of `ends_after` do not.
    """

    text: str
    step_size_matters: bool | None
    max_abs_difference_at_equal_steps_bytes: Count | None
    noise_bytes: Count | None
    growth_bytes_per_step: ByteRate | None
    growth_source: str | None
    forecast_step: Count | None
    ends_before: tuple[Count, ...]
    ends_after: tuple[Count, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MemSweep:
    """What `lrtool mem-sweep` measured or predicted: a trial for each condition and repeat, and the verdict over them.

    The LRs are None where they are the optimizer's own and no trial came far enough to tell them.
    """

    target: str
    recorder: Recorder
    recorder_reason: str
    capacity_bytes: Count | None
    card: str | None
    base_lr: Spread | None
    max_lr: Spread | None
    lr_source: str
    trials: Annotated[tuple[Trial, ...], NonEmpty]
    verdict: Verdict
    duration_s: Duration

    def __post_init__(self) -> None:
        numbers = [trial.number for trial in self.trials]
        if len(set(numbers)) < len(numbers):
            raise ValueError("two trials have one number")
