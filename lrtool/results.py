"""Everything measured, as frozen dataclasses, and its one JSON form (read back with every field checked by pydantic)."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

from lrtool.errors import UsageError

SCHEMA: Literal[1] = 1

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """The request at which a replayed program dies, in bytes, and what would let it live.

    "fragmentation" means that no free piece was large enough though all of them together were; `is_barred` that one was,
    but tied to another stream or kept by a setting.
    """

    request: int
    size_bytes: int
    phase: str | None
    source: str | None
    cause: Literal["capacity", "fragmentation"]
    is_barred: bool
    largest_free_bytes: int
    free_bytes: int
    detail: str | None
    surviving_settings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LeastCapacity:
    """The smallest device on which a stream survives, by flushing its cache if need be, and what it takes unpressured."""

    capacity_bytes: int
    unpressured_peak_bytes: int
    is_proven: bool
    num_alloc_retries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """Memory over the requests of a replay, sampled where most is active. Requests `repeats_from` to `repeats_to` are
    whole periods that were proven to repeat, and have no samples of their own; None where nothing was skipped.
    """

    request: tuple[int, ...]
    allocated_bytes: tuple[int, ...]
    active_bytes: tuple[int, ...]
    reserved_bytes: tuple[int, ...]
    peak_request: int
    repeats_from: int | None
    repeats_to: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockPicture:
    """A piece of a segment: used, free, or free and split off from what is used; "unmapped" has no memory behind it."""

    offset_bytes: int
    size_bytes: int
    state: Literal["used", "free", "split", "unmapped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentPicture:
    """A segment with its blocks by address."""

    size_bytes: int
    is_small: bool
    blocks: tuple[BlockPicture, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayRow:
    """One replay: under what, what it took (bytes; ratios are None where nothing was reserved), and how it ended."""

    settings: str
    capacity_bytes: int | None
    card: str | None
    torch: str
    caching: bool
    peak_allocated_bytes: int
    peak_active_bytes: int
    peak_reserved_bytes: int
    peak_requested_bytes: int
    fragmentation: float | None
    split_fragmentation: float | None
    largest_free_ratio: float | None
    rounding_loss: float | None
    releasable_bytes: int
    num_alloc_retries: int
    num_device_allocs: int
    num_device_frees: int
    num_played: int
    outcome: Literal["ok", "oom", "error"]
    death: Death | None
    least_capacity: LeastCapacity | None
    timeline: Timeline | None
    segments: tuple[SegmentPicture, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What `lrtool replay` found: a row for each settings on each capacity; `best` is the index of the one to prefer."""

    trace: str
    num_requests: int
    starts_from: Literal["an empty pool", "a running process"]
    warnings: tuple[str, ...]
    best: int
    rows: tuple[ReplayRow, ...]
    duration_s: float


Recorder = Literal["cuda", "predicted", "cpu"]
TrialStatus = Literal["ok", "oom", "failed", "killed", "timeout", "interrupted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSeries:
    """Memory of one trial over its steps, one entry a step, all of equal length: bytes at the step's end, the peak within
    the step, and cumulative counts. The first entry is that of step 1.
    """

    allocated_bytes: tuple[int, ...]
    active_bytes: tuple[int, ...]
    reserved_bytes: tuple[int, ...]
    inactive_split_bytes: tuple[int, ...]
    requested_bytes: tuple[int, ...]
    peak_allocated_bytes: tuple[int, ...]
    num_alloc_retries: tuple[int, ...]
    num_device_allocs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepGrowth:
    """Bytes by which allocated memory at the step's end grows per step, with its 95 % interval; `warmup_steps` are left
    out, and steps are compared `period_steps` apart, so that what repeats with that period is no growth.
    """

    bytes_per_step: float
    low_bytes_per_step: float
    high_bytes_per_step: float
    warmup_steps: int
    period_steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthSource:
    """Where storages that stay were born, as `file.py:line`, the text of that line, what holds them, and their bytes."""

    source: str
    line: str | None
    container: str | None
    bytes_per_step: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialDeath:
    """The step at which a trial ran out of memory (from 1; 0 while building), its failing request, and the cause if known."""

    step: int
    request_bytes: int | None
    cause: Literal["capacity", "fragmentation"] | None
    source: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What is varied: under it one trial runs. `settings` are the allocator's, `params` arguments of build()."""

    step_size_up: int
    step_size_down: int
    schedule: Literal["cyclic", "onecycle", "constant"]
    mode: Literal["triangular", "triangular2", "exp_range"]
    gamma: float
    scale_mode: Literal["cycle", "iterations"]
    settings: str
    precision: Literal["fp32", "bf16", "fp16"] | None
    params: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of a workload under one condition in a process of its own; bytes. Its steps are in `steps.csv` beside it.

    `repeat` counts from 0, `position` is its place in the order in which trials ran. Figures are None where the trial
    ended before there were any; `other_processes_bytes` is known on a GPU only.
    """

    number: int
    condition: Condition
    repeat: int
    position: int
    seed: int
    num_steps: int
    num_steps_done: int
    num_steps_traced: int | None
    status: TrialStatus
    message: str | None
    recorder: Recorder
    max_memory_allocated_bytes: int | None
    max_memory_reserved_bytes: int | None
    max_memory_active_bytes: int | None
    fragmentation: float | None
    split_fragmentation: float | None
    inactive_split_bytes: int | None
    num_alloc_retries: int | None
    device_allocs_per_step: float | None
    growth: StepGrowth | None
    growth_sources: tuple[GrowthSource, ...]
    death: TrialDeath | None
    other_processes_bytes: int | None
    duration_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a sweep says: one sentence, its figures, and the evidence line by line.

    `step_size_matters` is None where no two trials can be compared; `noise_bytes` is the largest difference between
    repeats of one condition, None without repeats. `forecast_step` is where the capacity is reached; of the swept step
    sizes those of `ends_before` finish by then, those of `ends_after` do not.
    """

    text: str
    step_size_matters: bool | None
    max_abs_difference_at_equal_steps_bytes: int | None
    noise_bytes: int | None
    growth_bytes_per_step: float | None
    growth_source: str | None
    forecast_step: int | None
    ends_before: tuple[int, ...]
    ends_after: tuple[int, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MemSweep:
    """What `lrtool mem-sweep` measured or predicted: a trial for each condition and repeat, and the verdict over them.

    The LRs are None where they are the optimizer's own and no trial came far enough to tell them.
    """

    target: str
    recorder: Recorder
    recorder_reason: str
    capacity_bytes: int | None
    card: str | None
    base_lr: float | None
    max_lr: float | None
    lr_source: str
    trials: tuple[Trial, ...]
    verdict: Verdict
    duration_s: float


Result = RangeTest | Replay | MemSweep
R_co = TypeVar("R_co", bound=Result, covariant=True)
RESULTS: dict[str, type[Result]] = {"range-test": RangeTest, "replay": Replay, "mem-sweep": MemSweep}
"""What each command's run directory holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Where a run was measured; runs are comparable where these agree."""

    lrtool: str
    python: str
    torch: str
    platform: str
    num_cpus: int
    device_name: str | None
    cuda: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run(Generic[R_co]):
    """One command's run directory: what was asked for, where it ran, and its result."""

    schema: Literal[1] = SCHEMA
    command: str
    created: str
    arguments: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    environment: Environment
    result: R_co


@dataclass(frozen=True, kw_only=True, slots=True)
class _Command:
    """The part of a run that tells how to read the rest."""

    command: Literal["range-test", "replay", "mem-sweep"]


def run_to_json(run: Run[Result]) -> str:
    """The text of `run.json`. Raises ValueError for a figure that is not finite: missing is None."""
    return json.dumps(asdict(run), indent=1, allow_nan=False) + "\n"


def run_from_json(text: str | bytes, *, source: str) -> Run[Result]:
    """The run that `run_to_json` wrote. Raises UsageError naming `source` and the first field that is wrong."""
    from pydantic import TypeAdapter, ValidationError

    try:
        command = TypeAdapter(_Command).validate_json(text).command
        kind: Any = Run[RESULTS[command]]  # type: ignore[valid-type]
        run: Run[Result] = TypeAdapter(kind).validate_json(text)
        return run
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UsageError(
            f"{source} is not a run lrtool can read: {place}: {first['msg']}",
            hint=f"it may be cut off, edited by hand, or written by another version (schema {SCHEMA} is read here)",
        ) from None


def document(run: Run[Result], *, run_dir: str | None) -> dict[str, Any]:
    """What `--json` prints: the result's fields at the top, then where and how they were measured."""
    envelope = asdict(run)
    result = envelope.pop("result")
    if isinstance(run.result, MemSweep):
        result["trials"] = [_flat_trial(trial) for trial in result["trials"]]
    head = {"schema": envelope.pop("schema"), "command": envelope.pop("command")}
    return {**head, **result, **envelope, "run_dir": run_dir}


def _flat_trial(trial: dict[str, Any]) -> dict[str, Any]:
    """A trial with its condition's fields and its growth beside its figures."""
    growth = trial["growth"]
    return {
        **{key: value for key, value in trial.items() if key != "condition"},
        **trial["condition"],
        "growth_bytes_per_step": None if growth is None else growth["bytes_per_step"],
    }
