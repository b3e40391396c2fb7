"""The peak of a few training steps, held against a limit in the running process: what the pytest plugin asks for."""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from lrtool.config import RecorderChoice
from lrtool.gate.judge import check
from lrtool.gate.limits import Limit
from lrtool.memory.growth import step_growth
from lrtool.memory.recorders.choose import choose_recorder, record
from lrtool.memory.recorders.recording import Recording, RecordSettings
from lrtool.results import Case, Check, Figure, Recorder, RunSummary, is_measured
from lrtool.workload.devices import accelerator
from lrtool.workload.restore import generators_restored
from lrtool.workload.target import Factory, from_callable, load


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLimits:
    """How many steps are taken, where, and what they may use; bytes, and bytes per step. Without a limit nothing is held."""

    peak_bytes: int | None
    growth_bytes_per_step: int | None = None
    num_steps: int = 3
    recorder: RecorderChoice = "predicted"
    gpu: str = "h100"
    params: Mapping[str, Any] = field(default_factory=dict)


def check_steps(build: Callable[..., Any] | str, limits: StepLimits) -> Check:
    """Build the workload and take its first steps, predicted, on the CPU or on the GPU; random generators are put back.

    Raises what the user's code raises, UsageError for a target that leads nowhere, and UnavailableError where the
    recorder cannot be had.
    """
    with generators_restored():
        factory = _factory(build, limits.params)
        recorder = choose_recorder(limits.recorder, device="auto").recorder
        held_before = _allocated_before(recorder)
        settings = RecordSettings(recorder=recorder, num_steps=limits.num_steps, seed=0, gpu=limits.gpu)
        recording = record(factory, settings)
    if recording.error is not None:
        raise recording.error.__cause__ or recording.error
    return check(_summary(factory, recording, recorder, held_before=held_before), _limits(limits))


def _factory(build: Callable[..., Any] | str, params: Mapping[str, Any]) -> Factory:
    return load(build, params=params) if isinstance(build, str) else from_callable(build, params=params)


def _allocated_before(recorder: Recorder) -> int:
    """What else this process holds on the GPU is not of these steps."""
    if not is_measured(recorder):
        return 0
    gc.collect()
    accelerator().reset_peak_memory_stats()
    return int(accelerator().memory_allocated())


def _limits(limits: StepLimits) -> list[Limit]:
    wanted = {"peak_allocated": limits.peak_bytes, "growth": limits.growth_bytes_per_step}
    return [Limit(metric=name, kind="max", value=value) for name, value in wanted.items() if value is not None]


def _summary(factory: Factory, recording: Recording, recorder: Recorder, *, held_before: int) -> RunSummary:
    figures = {}
    if recording.peaks is not None:
        figures["peak_allocated"] = Figure(value=recording.peaks.allocated_bytes - held_before)
    growth = step_growth(recording.series.allocated_bytes)
    if growth is not None:
        figures["growth"] = Figure(value=growth.bytes_per_step, noise=growth.bytes_per_step - growth.low_bytes_per_step)
    death = recording.death
    case = Case(
        condition={},
        status="ok" if death is None else "oom",
        trouble=None if death is None else f"out of memory at step {death.step:,}",
        figures=figures,
        peak_shares=recording.peak_breakdown,
        growth_sources=recording.growth_sources,
    )
    return RunSummary(
        command="mem-sweep",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        lrtool=version("lrtool"),
        facts={"recorder": recorder, "target": factory.name},
        cases=(case,),
    )
