"""What a replay of an allocation trace found."""

from dataclasses import dataclass
from typing import Literal

from lrtool.results.oom import ReplayOom


@dataclass(frozen=True, kw_only=True, slots=True)
class LeastCapacity:
    """The smallest device on which a trace fits, by flushing its cache if need be, and what it uses unpressured."""

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
class ReplayBlock:
    """A piece of a segment: used, free, or free and split off from what is used; "unmapped" has no memory behind it."""

    offset_bytes: int
    size_bytes: int
    state: Literal["used", "free", "split", "unmapped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplaySegment:
    """A segment with its blocks by address."""

    size_bytes: int
    is_small: bool
    blocks: tuple[ReplayBlock, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayRow:
    """One replay: under what, what it used (bytes; ratios are None where nothing was reserved), and how it ended."""

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
    death: ReplayOom | None
    least_capacity: LeastCapacity | None
    timeline: Timeline | None
    segments: tuple[ReplaySegment, ...]


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
