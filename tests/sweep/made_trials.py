"""Trials and their steps made by hand, for whatever reads a sweep."""

from collections.abc import Sequence
from typing import Any

from lrtool.memory.growth import step_growth
from lrtool.results import Condition, GrowthSource, Recorder, StepSeries, Trial, TrialOom, TrialStatus

MIB = 2**20
GIB = 2**30


def condition(step_size: int, *, settings: str = "", mode: str = "triangular", **params: Any) -> Condition:
    return Condition(
        step_size_up=step_size, step_size_down=step_size, schedule="cyclic", mode=mode, gamma=1.0, scale_mode="cycle",  # type: ignore[arg-type]
        settings=settings, precision=None, params=params,
    )  # fmt: skip


def steps_of(
    allocated: Sequence[int], *, within: int = 0, reserved: Sequence[int] | None = None, device_allocs: int = 0
) -> StepSeries:
    peaks = [each + within for each in allocated]
    count = len(allocated)
    return StepSeries(
        allocated_bytes=tuple(allocated), active_bytes=tuple(allocated),
        reserved_bytes=tuple(reserved if reserved is not None else peaks), inactive_split_bytes=(0,) * count,
        requested_bytes=tuple(allocated), peak_allocated_bytes=tuple(peaks), num_alloc_retries=(0,) * count,
        num_device_allocs=tuple(7 + step * device_allocs for step in range(count)),
    )  # fmt: skip


def trial(
    number: int, of: Condition, steps: StepSeries | None, *, repeat: int = 0, position: int | None = None, seed: int = 0,
    status: TrialStatus = "ok", recorder: Recorder = "predicted", message: str | None = None,
    sources: tuple[GrowthSource, ...] = (), request: int | None = None, num_steps: int | None = None,
) -> Trial:  # fmt: skip
    done = len(steps.allocated_bytes) if steps else 0
    peak = max(steps.peak_allocated_bytes) if steps else None
    reserved = max(steps.reserved_bytes) if steps else None
    death = TrialOom(step=done + 1, request_bytes=request, cause="capacity", source=None) if status == "oom" else None
    return Trial(
        number=number, condition=of, repeat=repeat, position=number if position is None else position, seed=seed,
        num_steps=num_steps or of.step_size_up + of.step_size_down, num_steps_done=done, num_steps_traced=None,
        status=status, message=message, recorder=recorder, max_memory_allocated_bytes=peak,
        max_memory_reserved_bytes=reserved, max_memory_active_bytes=peak,
        fragmentation=1 - peak / reserved if peak is not None and reserved else None, split_fragmentation=0.0,
        inactive_split_bytes=0, num_alloc_retries=0, device_allocs_per_step=0.0,
        growth=step_growth(steps.allocated_bytes) if steps else None, growth_sources=sources, death=death,
        other_processes_bytes=None, duration_s=1.5,
    )  # fmt: skip
