"""Settings: each with its type, its bounds, its default, and the option that sets it, in one place.

A table of a settings file is a class here, and a field of it is an option of its command, under the same name.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from lrtool.errors import UsageError
from lrtool.gate.limits import Kind, Limit, limit_of
from lrtool.option import STRICT, NumGpus, Option, Positive
from lrtool.results.mem_sweep import SweepAxes
from lrtool.results.schedules import check_schedule
from lrtool.units import parse_memory

Confirm = Literal["off", "cyclic", "constant", "super-convergence"]
OtherRules = Literal["all", "fastai", "lightning", "torch-lr-finder", "ignite"]
Seconds = Annotated[float, Gt(0)]
FEWEST_STEPS = 12
"""Of fewer losses no curve can be smoothed, let alone judged."""
_of_ramp = partial(Option, panel="Range test")


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeTestSettings:
    """The ramp of `lrtool range-test`, table `[range-test]` of a settings file."""

    __pydantic_config__ = STRICT

    start_lr: Annotated[float, Gt(0), _of_ramp("LR of the first step.")] = 1e-7
    end_lr: Annotated[float, Gt(0), _of_ramp("LR of the last step.")] = 10.0
    num_steps: Annotated[
        Annotated[int, Ge(FEWEST_STEPS), Le(1_000_000)] | Literal["auto"],
        _of_ramp(
            "Steps from one to the other; auto takes what the range needs, and moves ends that were not given.",
            metavar="N|auto",
        ),
    ] = "auto"
    mode: Annotated[Literal["exp", "linear"], _of_ramp("Shape of the ramp: exp or linear.")] = "exp"
    repeats: Annotated[int, Ge(1), _of_ramp("Ramps, each with a seed of its own.")] = 1
    confirm: Annotated[
        Confirm,
        _of_ramp(
            "Then try LRs around the suggestion in short runs from the same start: cyclic (also without a value), "
            "constant, super-convergence (one cycle up to max_lr) or off.",
            metavar="[SCHEDULE]",
        ),
    ] = "off"
    confirm_loss: Annotated[
        Literal["train", "val"],
        _of_ramp("The loss that judges these runs: train (the last steps) or val (val_loader)."),
    ] = "train"
    per_group: Annotated[bool, _of_ramp("Find a range for each parameter group: ramp each alone, then together.")] = (
        False
    )
    optimizer: Annotated[
        str | None,
        _of_ramp("Of several the one to ramp, by name or place; the others keep their LRs. Default: each in turn."),
    ] = None
    batch_size: Annotated[
        tuple[Positive, ...],
        _of_ramp(
            "Sizes to hand to build(), such as 16,32,64: suggests for the first and measures how the LR scales.",
            metavar="LIST",
        ),
    ] = ()
    rules: Annotated[
        tuple[OtherRules, ...],
        _of_ramp(
            "Show what other finders' rules say on the same curve: all, or some of fastai, lightning, "
            "torch-lr-finder, ignite.",
            metavar="NAMES",
        ),
    ] = ()
    timeout: Annotated[
        Seconds, _of_ramp("Under torchrun: seconds without a step after which a rank counts as hanging.")
    ] = 600.0

    def __post_init__(self) -> None:
        if not self.start_lr < self.end_lr:
            message = f"start-lr {self.start_lr:g} is not below end-lr {self.end_lr:g}"
            raise ValueError(message, "the ramp goes from a small LR to a large one")


RecorderChoice = Literal["auto", "cuda", "predicted", "cpu"]
_of_trials = partial(Option, panel="Trials")
_of_cluster = partial(Option, panel="Cluster")


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Where a command's trials run; an executor is the module of that name in sweep/executors/."""

    executor: Annotated[Literal["subprocess", "ray"], _of_cluster("Where trials run: subprocess (here) or ray.")] = (
        "subprocess"
    )
    ray_address: Annotated[
        str | None,
        _of_cluster("Of a Ray cluster; auto: that of this machine. Default: one started for this run."),
    ] = None
    trial_cpus: Annotated[float, Gt(0), _of_cluster("CPUs of its node that a trial needs.")] = 1.0
    trial_memory: Annotated[str | None, _of_cluster("Memory of its node that a trial needs: 8GiB. Default: any.")] = (
        None
    )

    def __post_init__(self) -> None:
        if self.trial_memory is not None:
            _check_size("trial-memory", self.trial_memory)


def _check_size(name: str, text: str) -> None:
    try:
        parse_memory(text)
    except UsageError as error:
        raise ValueError(f"{name}: {error.message}", error.hint) from None


@dataclass(frozen=True, kw_only=True)
class MemSweepSettings(SweepAxes, ExecutorSettings):
    """What `lrtool mem-sweep` varies and how its trials run, table `[mem-sweep]` of a settings file."""

    __pydantic_config__ = STRICT

    cycles: Annotated[Positive, _of_trials("Cycles in a trial, up and down again.")] = 1
    steps: Annotated[Positive | None, _of_trials("Steps of every trial, instead of whole cycles.")] = None
    repeats: Annotated[Positive, _of_trials("Trials of each condition.")] = 1
    order: Annotated[Literal["shuffled", "given"], _of_trials("shuffled (by --seed) or given.")] = "shuffled"
    recorder: Annotated[
        RecorderChoice,
        _of_trials("auto, cuda (measured), predicted (traced without a GPU) or cpu (a real run there)."),
    ] = "auto"
    gpu: Annotated[str, _of_trials("The card to predict for: h100, rtx4090 ...")] = "h100"
    gpus: Annotated[NumGpus, _of_trials("How many such cards the program finds.")] = 1
    capacity: Annotated[str | None, _of_trials("Memory there is: 24GiB, or a card. Default: --gpu's.")] = None
    history: Annotated[
        tuple[Positive, ...], _of_trials("Steps whose allocations are kept in a snapshot, on CUDA.")
    ] = ()
    jobs: Annotated[Positive, _of_trials("Trials at once; on CUDA one per GPU.")] = 1
    timeout: Annotated[Seconds | None, _of_trials("Seconds after which a trial is ended. Default: none.")] = None

    def __post_init__(self) -> None:
        ExecutorSettings.__post_init__(self)
        check_schedule(self)
        if self.shard != ("none",) and not self.world_size:
            raise ValueError(
                "shard is given without world-size", "say over how many ranks, for example --world-size 1,8,64"
            )


Bounds = dict[str, str | int | float]
KINDS: dict[str, Kind] = {"max": "max", "min": "min", "max_increase": "increase"}
"""The kind of limit that each field of bounds holds, in the order in which they are shown."""
_limit = partial(Option, panel="Limits")
_limits = partial(_limit, metavar="LIMIT", is_repeatable=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetSettings:
    """What a run must keep to, table `[budget]` of a settings file: metrics with what they may be at most, at least, and
    by how much they may exceed the baseline, a file or a run.
    """

    __pydantic_config__ = STRICT

    max: Annotated[
        Bounds, _limits("METRIC=VALUE that must not be exceeded: peak_allocated=14GiB, growth=0; repeatable.")
    ] = field(default_factory=dict)
    min: Annotated[Bounds, _limits("METRIC=VALUE that must be reached: max_lr=0.01; repeatable.")] = field(
        default_factory=dict
    )
    max_increase: Annotated[
        Bounds,
        _limits(
            "METRIC:VALUE by which the baseline may be exceeded: peak_allocated:5% or peak_allocated:200MiB; "
            "repeatable. Default with a baseline: peak_allocated:1% and growth:0."
        ),
    ] = field(default_factory=dict)
    baseline: Annotated[
        str | None,
        _limit("A file of `lrtool baseline`, or a run (directory, number, last).", metavar="RUN-OR-FILE"),
    ] = None
    allow_different: Annotated[
        bool,
        _limit("Compare although GPU, torch, recorder, allocator settings or conditions differ.", has_variable=False),
    ] = False

    def __post_init__(self) -> None:
        try:
            assert self.limits is not None
        except UsageError as error:
            raise ValueError(f"budget: {error.message}", error.hint) from None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """All limits, in the order in which they are shown."""
        bounds = {kind: getattr(self, name) for name, kind in KINDS.items()}
        return tuple(limit_of(name, value, kind) for kind, values in bounds.items() for name, value in values.items())


_of_diagnosis = partial(Option, panel="Diagnosis")
_of_cures = partial(Option, panel="Cures")


@dataclass(frozen=True, kw_only=True)
class DiagnoseSettings(ExecutorSettings):
    """What `lrtool diagnose` judges and which cures it tries, table `[diagnose]` of a settings file."""

    __pydantic_config__ = STRICT

    steps: Annotated[Positive, _of_diagnosis("Steps of the run that is judged.")] = 1000
    settings: Annotated[str, _of_diagnosis("PYTORCH_CUDA_ALLOC_CONF, as it is written. Default: torch's own.")] = ""
    recorder: Annotated[RecorderChoice, _of_diagnosis("auto, cuda, predicted or cpu.")] = "auto"
    gpu: Annotated[str, _of_diagnosis("The card to judge for: h100, rtx4090 ...")] = "h100"
    gpus: Annotated[NumGpus, _of_diagnosis("How many such cards the program finds.")] = 1
    capacity: Annotated[str | None, _of_diagnosis("Memory there is: 24GiB, or a card. Default: --gpu's.")] = None
    timeout: Annotated[Seconds | None, _of_diagnosis("Seconds after which it is given up. Default: none.")] = None
    evaluate: Annotated[
        bool, _of_diagnosis("Add one pass of evaluation, and what follows an epoch, after the last step.")
    ] = False
    cures: Annotated[bool, _of_cures("Try what may save memory: bytes, time, loss, and how to apply it.")] = False
    max_batch: Annotated[bool, _of_cures("Search the largest batch that fits the capacity.")] = False
    only: Annotated[
        tuple[str, ...], _of_cures("The cures to try, and no others: bf16,roundup,... (docs/cures.md). Default: all.")
    ] = ()
    checkpoint: Annotated[
        tuple[str, ...],
        _of_cures("Modules to checkpoint, by name or pattern (encoder.layers.*). Default: repeated blocks, found."),
    ] = ()
    cure_steps: Annotated[int, Ge(2), _of_cures("Steps of each cure's trial.")] = 5


_of_replay = partial(Option, panel="Replay")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplaySettings:
    """What `lrtool replay` plays a trace on, table `[replay]` of a settings file: a row for each of the allocator's `settings`
    and each `capacity`.
    """

    __pydantic_config__ = STRICT

    settings: Annotated[
        tuple[str, ...],
        _of_replay(
            "PYTORCH_CUDA_ALLOC_CONF to replay under, as it is written; repeatable: one row each. Default: torch's own.",
            is_repeatable=True,
        ),
    ] = ()
    capacity: Annotated[
        tuple[str, ...],
        _of_replay(
            "24GiB, or a card: rtx4090, a100-40, h100 ...; repeatable. Default: as large as need be.",
            is_repeatable=True,
        ),
    ] = ()
    torch: Annotated[str, _of_replay("Whose allocator: 2.0 to 2.15.")] = "2.15"
    no_caching: Annotated[bool, _of_replay("As with PYTORCH_NO_CUDA_MEMORY_CACHING=1.")] = False
    min_capacity: Annotated[bool, _of_replay("Search the smallest capacity that survives.")] = False


_of_target = partial(Option, panel="Target")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The top level of a settings file: what commands share, and a table for each command."""

    __pydantic_config__ = STRICT

    target: str | None = None
    params: Annotated[
        dict[str, str | int | float | bool],
        _of_target("An argument of build(): NAME=VALUE; repeatable.", flags=("--param", "-p"), is_repeatable=True),
    ] = field(default_factory=dict)
    device: Annotated[str, _of_target("auto, cpu, cuda, cuda:1 or mps.")] = "auto"
    seed: Annotated[int, Ge(0), _of_target("Seed of the first run.")] = 0
    out: Annotated[str, Option("Folder of the numbered run directories.", panel="Output")] = "runs"
    range_test: RangeTestSettings = field(default_factory=RangeTestSettings)
    mem_sweep: MemSweepSettings = field(default_factory=MemSweepSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    diagnose: DiagnoseSettings = field(default_factory=DiagnoseSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)


TABLES: dict[str, Any] = {each.name: each.type for each in fields(Settings) if is_dataclass(each.type)}
"""The class of each table of a settings file, by the name of its field."""
