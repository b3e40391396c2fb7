"""The figures by which GPU memory is judged, each defined once: integers in, frozen dataclasses out.

Every formula takes figures as `torch.cuda.memory_stats` gives them. Those taken with expandable segments on and off
are not comparable: expandable memory never counts as inactive split.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrtool.memory.growth import device_allocs_per_step
from lrtool.results import StepSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """The most there was at once, in bytes; the four peaks may lie at different moments."""

    allocated_bytes: int
    reserved_bytes: int
    active_bytes: int
    requested_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How memory was used at one moment, in bytes; `largest_free_bytes` is None where only counters are known."""

    allocated_bytes: int
    active_bytes: int
    requested_bytes: int
    reserved_bytes: int
    inactive_split_bytes: int
    largest_free_bytes: int | None = None

    @property
    def free_bytes(self) -> int:
        """All that is reserved and not in use."""
        return self.reserved_bytes - self.active_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragmentation:
    """Where reserved memory went at one moment, and over the whole run. Ratios are None where nothing was reserved."""

    fragmentation: float | None
    split_fragmentation: float | None
    releasable_bytes: int
    rounding_loss: float | None
    largest_free_ratio: float | None


def peaks(stats: Mapping[str, int]) -> Peaks:
    """The peaks in a memory_stats dictionary."""
    return Peaks(
        allocated_bytes=stats["allocated_bytes.all.peak"],
        reserved_bytes=stats["reserved_bytes.all.peak"],
        active_bytes=stats["active_bytes.all.peak"],
        requested_bytes=stats["requested_bytes.all.peak"],
    )


def moment(stats: Mapping[str, int], *, largest_free_bytes: int | None = None) -> Moment:
    """The current figures in a memory_stats dictionary."""
    return Moment(
        allocated_bytes=stats["allocated_bytes.all.current"],
        active_bytes=stats["active_bytes.all.current"],
        requested_bytes=stats["requested_bytes.all.current"],
        reserved_bytes=stats["reserved_bytes.all.current"],
        inactive_split_bytes=stats["inactive_split_bytes.all.current"],
        largest_free_bytes=largest_free_bytes,
    )


def trial_metrics(series: StepSeries, run: Peaks | None, at: Moment | None) -> dict[str, Any]:
    """The metrics of a trial by their fields in `results.Trial`: of its steps, its peaks, and `at` its most reserved."""
    of_steps = {
        "num_alloc_retries": series.num_alloc_retries[-1] if series.num_alloc_retries else None,
        "device_allocs_per_step": device_allocs_per_step(series.num_device_allocs, warmup_steps=2),
    }
    if run is None or at is None:
        return of_steps
    return of_steps | {
        "max_memory_allocated_bytes": run.allocated_bytes,
        "max_memory_reserved_bytes": run.reserved_bytes,
        "max_memory_active_bytes": run.active_bytes,
        "fragmentation": fragmentation_ratio(run.active_bytes, run.reserved_bytes),
        "split_fragmentation": split_ratio(at.inactive_split_bytes, at.reserved_bytes),
        "largest_free_ratio": largest_free_ratio(at.largest_free_bytes, at.free_bytes),
        "inactive_split_bytes": at.inactive_split_bytes,
    }


def fragmentation(run: Peaks, at: Moment) -> Fragmentation:
    """All ratios of a run, those of a moment taken `at` the given one."""
    return Fragmentation(
        fragmentation=fragmentation_ratio(run.active_bytes, run.reserved_bytes),
        split_fragmentation=split_ratio(at.inactive_split_bytes, at.reserved_bytes),
        releasable_bytes=releasable_bytes(at.reserved_bytes, at.active_bytes, at.inactive_split_bytes),
        rounding_loss=rounding_loss(at.requested_bytes, at.active_bytes),
        largest_free_ratio=largest_free_ratio(at.largest_free_bytes, at.free_bytes),
    )


def fragmentation_ratio(peak_active_bytes: int, peak_reserved_bytes: int) -> float | None:
    """1 - peak active / peak reserved: GMLake, https://arxiv.org/abs/2401.08156, and its README."""
    return None if peak_reserved_bytes == 0 else 1 - peak_active_bytes / peak_reserved_bytes


def split_ratio(inactive_split_bytes: int, reserved_bytes: int) -> float | None:
    """Inactive split / reserved: what a cache flush cannot give back."""
    return None if reserved_bytes == 0 else inactive_split_bytes / reserved_bytes


def releasable_bytes(reserved_bytes: int, active_bytes: int, inactive_split_bytes: int) -> int:
    """Reserved - active - inactive split: what a cache flush gives back."""
    releasable = reserved_bytes - active_bytes - inactive_split_bytes
    assert releasable >= 0, "active and inactive split memory exceed what is reserved"
    return releasable


def rounding_loss(requested_bytes: int, allocated_bytes: int) -> float | None:
    """1 - requested / allocated: what rounding up and unsplit remainders cost inside blocks.

    Where blocks wait for another stream, torch counts them as requested still; then give active bytes as allocated.
    """
    return None if allocated_bytes == 0 else 1 - requested_bytes / allocated_bytes


def largest_free_ratio(largest_free_bytes: int | None, free_bytes: int) -> float | None:
    """Largest free block / all free bytes: 1 is one piece; None where nothing is free, or it is not known."""
    return None if largest_free_bytes is None or free_bytes == 0 else largest_free_bytes / free_bytes


def died_of_fragmentation(request_bytes: int, *, largest_free_bytes: int, free_bytes: int) -> bool:
    """Whether the failing request would have fitted into the free memory, had it been in one piece."""
    return largest_free_bytes < request_bytes <= free_bytes
