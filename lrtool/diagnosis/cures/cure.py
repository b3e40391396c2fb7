"""A cure: something to try against a shortage of memory, registered where the function that does it is written."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Any, Literal

from lrtool.diagnosis.cures.applied import AppliedCure, CureOptions
from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.trace.allocation_trace import AllocationTrace
from lrtool.workload.workload import Workload

Alters = Literal["nothing", "rounding", "training"]
Apply = Callable[[Workload, CureOptions], AppliedCure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The trace under which options are tried, and what limits them."""

    trace: AllocationTrace
    version: TorchVersion
    capacity_bytes: int | None


ValuesFor = Callable[[Replayed], tuple[str, ...]]


class Stage(IntEnum):
    """When a cure is applied, where several are applied together: first those that later ones must see."""

    PRECISION = auto()
    RECOMPUTATION = auto()
    BATCH_SIZE = auto()
    OPTIMIZER = auto()
    STEP = auto()
    BATCH_ORDER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cure:
    """What is known of a cure before it is tried.

    `alters` says what becomes of the training: "nothing", its "rounding" only, or the "training" itself, which needs another
    look at the learning rate. `keeps_batches` says that losses can be compared step by step, `time_by_operations` that
    counting operations tells how much longer a step takes. Cures of one `family` exclude each other.
    One that acts `at_capacity` shows its effect only where memory is short.
    """

    name: str
    title: str
    note: str | None = None
    alters: Alters = "nothing"
    keeps_batches: bool = True
    time_by_operations: bool = False
    family: str | None = None
    at_capacity: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadCure(Cure):
    """A cure that changes a built workload; `stage` places it among others."""

    stage: Stage
    apply: Apply


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionCure(Cure):
    """A cure that is an option of the allocator, called as its `title` is; `values_for` a trace are the texts to try."""

    values_for: ValuesFor


WORKLOAD_CURES: list[WorkloadCure] = []
OPTION_CURES: list[OptionCure] = []


def cure(**about: Any) -> Callable[[Apply], Apply]:
    """Register the function below as the cure that the fields of WorkloadCure describe."""

    def register(apply: Apply) -> Apply:
        WORKLOAD_CURES.append(WorkloadCure(apply=apply, **about))
        return apply

    return register


def option_cure(**about: Any) -> Callable[[ValuesFor], ValuesFor]:
    """Register the function below, which names the values to try, as the cure that the fields of OptionCure describe."""

    def register(values_for: ValuesFor) -> ValuesFor:
        OPTION_CURES.append(OptionCure(values_for=values_for, **about))
        return values_for

    return register
