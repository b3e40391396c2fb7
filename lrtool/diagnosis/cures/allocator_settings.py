"""Cures that are settings of the allocator: they need no new run, since the recorded stream can be replayed under each."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lrtool.errors import UsageError
from lrtool.memory.allocator.config import MIB, parse_settings
from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.trace.allocation_trace import AllocationTrace, Op

MAX_SPLIT_VALUES = 3
_FRACTION_OPTION_SINCE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsCure:
    """An option of the allocator with the values to try; where there are none, `reason` says why it cannot help.

    One that acts `at_capacity` shows its effect only where memory is short.
    """

    name: str
    title: str
    values: tuple[str, ...]
    reason: str | None = None
    at_capacity: bool = False
    note: str | None = None


def settings_cures(
    stream: AllocationTrace, *, base: str, version: TorchVersion, capacity_bytes: int | None
) -> tuple[SettingsCure, ...]:
    """What to try on this stream, each on top of the settings that are there already."""
    found = (
        SettingsCure(
            name="expandable-segments",
            title="expandable_segments",
            values=("expandable_segments:True",),
            note="no CUDA IPC, pytorch#130330",
        ),
        _max_split(stream, version),
        _collection(version, capacity_bytes),
        SettingsCure(
            name="roundup",
            title="roundup_power2_divisions",
            values=tuple(f"roundup_power2_divisions:{number}" for number in (2, 4, 8, 16)),
            note="rounds requests up, so allocated memory rises",
        ),
    )
    return tuple(_on_top(cure, base, version) for cure in found)


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


def joined(base: str, option: str) -> str:
    """The settings with one more option."""
    return f"{base},{option}" if base else option


def _max_split(stream: AllocationTrace, version: TorchVersion) -> SettingsCure:
    sizes = [value for op, value in zip(stream.ops, stream.values, strict=True) if op == Op.ALLOC]
    lowest = version.min_max_split_mb
    values = split_values(sizes, lowest_mb=lowest)
    return SettingsCure(
        name="max-split-size",
        title="max_split_size_mb",
        values=tuple(f"max_split_size_mb:{value}" for value in values),
        reason=None if values else f"no request is as large as its smallest legal value, {lowest} MiB",
    )


def _collection(version: TorchVersion, capacity_bytes: int | None) -> SettingsCure:
    """It runs only where a memory fraction is set: an option since torch 2.10, a call before."""
    reason = None if capacity_bytes else "it acts only where memory is limited, and no capacity is given"
    if not version.has(_FRACTION_OPTION_SINCE):
        reason = reason or f"torch {version} needs torch.cuda.set_per_process_memory_fraction(1.0) with it"
    values = () if reason else ("per_process_memory_fraction:1.0,garbage_collection_threshold:0.8",)
    return SettingsCure(
        name="garbage-collection",
        title="garbage_collection_threshold",
        values=values,
        reason=reason,
        at_capacity=True,
        note="acts only together with a memory fraction",
    )


def _on_top(cure: SettingsCure, base: str, version: TorchVersion) -> SettingsCure:
    """The cure with whole settings for values; an option that is set already is left as it is."""
    if cure.title in base:
        return SettingsCure(name=cure.name, title=cure.title, values=(), reason="it is set already", note=cure.note)
    texts = tuple(text for value in cure.values if _is_legal(text := joined(base, value), version))
    reason = cure.reason or (None if texts else f"torch {version} does not have it")
    return SettingsCure(
        name=cure.name, title=cure.title, values=texts, reason=reason, at_capacity=cure.at_capacity, note=cure.note
    )


def _is_legal(text: str, version: TorchVersion) -> bool:
    try:
        parse_settings(text, version=version)
    except UsageError:
        return False
    return True
