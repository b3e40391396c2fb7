"""Cures that are options of the allocator: they need no new run, since the recorded trace can be replayed under each."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lrtool.diagnosis.cures.applied import CannotHelp
from lrtool.diagnosis.cures.cure import OPTION_CURES, Cure, OptionCure, Replayed, option_cure
from lrtool.errors import UsageError
from lrtool.memory.allocator.config import MIB, parse_settings
from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.trace.allocation_trace import Op

MAX_SPLIT_VALUES = 3
_FRACTION_OPTION_SINCE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsToTry:
    """A cure with the settings to try, in which its option has a value; where there are none, `reason` says why."""

    cure: Cure
    settings: tuple[str, ...] = ()
    reason: str | None = None


def settings_to_try(
    trace: Replayed, *, base: str, cures: Sequence[OptionCure] = OPTION_CURES
) -> tuple[SettingsToTry, ...]:
    """What to try on a trace, each option on top of the settings that are there already."""
    return tuple(_on_top(cure, trace, base) for cure in cures)


@option_cure(name="expandable-segments", title="expandable_segments", note="no CUDA IPC, pytorch#130330")
def expandable_segments(_trace: Replayed) -> tuple[str, ...]:
    """Segments that grow, so that free memory of one can serve requests of any size."""
    return ("expandable_segments:True",)


@option_cure(name="max-split-size", title="max_split_size_mb")
def max_split_size(trace: Replayed) -> tuple[str, ...]:
    """Large blocks that are kept whole, by the sizes of the trace's own requests."""
    requests = trace.trace
    sizes = [value for op, value in zip(requests.ops, requests.values, strict=True) if op == Op.ALLOC]
    lowest = trace.version.min_max_split_mb
    values = split_values(sizes, lowest_mb=lowest)
    if not values:
        raise CannotHelp(f"no request is as large as its smallest legal value, {lowest} MiB")
    return tuple(f"max_split_size_mb:{value}" for value in values)


@option_cure(
    name="garbage-collection",
    title="garbage_collection_threshold",
    at_capacity=True,
    note="acts only together with a memory fraction",
)
def garbage_collection(trace: Replayed) -> tuple[str, ...]:
    """Old blocks go back to the device early. The memory fraction it needs is an option since torch 2.10, a call before."""
    if not trace.capacity_bytes:
        raise CannotHelp("it acts only where memory is limited, and no capacity is given")
    if not trace.version.has(_FRACTION_OPTION_SINCE):
        raise CannotHelp(f"torch {trace.version} needs torch.cuda.set_per_process_memory_fraction(1.0) with it")
    return ("per_process_memory_fraction:1.0,garbage_collection_threshold:0.8",)


@option_cure(
    name="roundup",
    title="roundup_power2_divisions",
    note="rounds requests up, so allocated memory rises",
)
def roundup(_trace: Replayed) -> tuple[str, ...]:
    """Requests rounded up to a fraction of a power of two, so that those of about one size share blocks."""
    return tuple(f"roundup_power2_divisions:{number}" for number in (2, 4, 8, 16))


def split_values(sizes: Sequence[int], *, lowest_mb: int) -> tuple[int, ...]:
    """Values of max_split_size_mb that tell large requests from smaller ones: just below the widest gaps, in ratio.

    Blocks of the value and above are not split, so that large requests find them whole. Sizes in bytes.
    """
    large = sorted({size // MIB for size in sizes if size // MIB >= lowest_mb})
    if not large:
        return ()
    below = max((size // MIB for size in sizes if size // MIB < lowest_mb), default=1)
    gaps = [(after / max(before, 1), after) for before, after in pairwise([below, *large])]
    return tuple(sorted(value for _, value in sorted(gaps, reverse=True)[:MAX_SPLIT_VALUES]))


def _on_top(cure: OptionCure, trace: Replayed, base: str) -> SettingsToTry:
    """Settings with the cure's option besides; an option that is set already is left as it is."""
    if cure.title in base:
        return SettingsToTry(cure=cure, reason="it is set already")
    try:
        values = cure.values_for(trace)
    except CannotHelp as refusal:
        return SettingsToTry(cure=cure, reason=refusal.message)
    texts = (f"{base},{value}" if base else value for value in values)
    legal = tuple(text for text in texts if _is_legal(text, trace.version))
    return SettingsToTry(cure=cure, settings=legal, reason=None if legal else f"torch {trace.version} does not have it")


def _is_legal(text: str, version: TorchVersion) -> bool:
    try:
        parse_settings(text, version=version)
    except UsageError:
        return False
    return True
