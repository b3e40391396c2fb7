"""What every recorder yields: the memory of a trial's steps, its peaks, and how it ended."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from lrtool.memory.metrics import Moment, Peaks
from lrtool.memory.replay.player import StepEnd
from lrtool.results import (
    Assumption,
    CardMemory,
    DeviceMemory,
    GrowthSource,
    PeakInterval,
    PeakShare,
    Recorder,
    StepSeries,
    TrialOom,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSettings:
    """How one trial is recorded.

    `settings` are the allocator's. `folder` receives snapshots: of the steps in `history`, and where memory ran out.
    """

    recorder: Recorder
    num_steps: int
    seed: int
    device: str = "auto"
    gpu: str = "h100"
    gpus: int = 1
    capacity_bytes: int | None = None
    settings: str = ""
    history: tuple[int, ...] = ()
    folder: Path | None = None


COLUMNS = tuple(field.name for field in fields(StepSeries))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recorded trial. `death` tells of memory that ran out, `error` what else ended it; `note` limits what is known.

    `at_peak` is the moment when most was reserved. `num_steps_traced` is None where every step was run,
    `other_processes_bytes` and `capacity_bytes` are known on a GPU only.
    """

    series: StepSeries
    peaks: Peaks | None
    at_peak: Moment | None = None
    num_steps_traced: int | None = None
    death: TrialOom | None = None
    error: BaseException | None = None
    note: str | None = None
    growth_sources: tuple[GrowthSource, ...] = ()
    peak_breakdown: tuple[PeakShare, ...] = ()
    other_processes_bytes: int | None = None
    capacity_bytes: int | None = None
    most_by_category: Mapping[str, int] = field(default_factory=dict)
    peak_interval: PeakInterval | None = None
    assumptions: tuple[Assumption, ...] = ()
    on_card: CardMemory | None = None
    devices: tuple[DeviceMemory, ...] = ()


def series_of(steps: tuple[StepEnd, ...]) -> StepSeries:
    """The steps of a replay as columns."""
    columns = StepColumns()
    for step in steps:
        columns.append(**{name: getattr(step, name) for name in COLUMNS})
    return columns.series()


class StepColumns:
    """One row of figures for each step that has ended."""

    def __init__(self) -> None:
        self._columns = {name: array("q") for name in COLUMNS}

    def __len__(self) -> int:
        return len(self._columns[COLUMNS[0]])

    def append(self, **figures: int) -> None:
        """The figures of one step, by their names in StepSeries."""
        for name, column in self._columns.items():
            column.append(figures[name])

    def series(self) -> StepSeries:
        return StepSeries(**{name: tuple(column) for name, column in self._columns.items()})
