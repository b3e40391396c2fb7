"""What a replay of an allocation trace found."""

from dataclasses import dataclass
from typing import Annotated, Literal

from lrtool.results.checks import Count, Duration, NonEmpty, Ratio, Size, check_columns, check_index
from lrtool.results.oom import RecordedOom, ReplayOom

Start = Literal["an empty pool", "a running process"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LeastCapacity:
    """The smallest device on which a trace fits, by flushing its cache if need be, and what it uses unpressured."""

    capacity_bytes: Count
    unpressured_peak_bytes: Count
    is_proven: bool
    num_alloc_retries: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """Memory over the requests of a replay, sampled where most is active. Requests `repeats_from` to `repeats_to` are
    whole periods that were proven to repeat, and have no samples of their own; None where nothing was skipped.
    """

    request: Annotated[tuple[Count, ...], NonEmpty]
    allocated_bytes: tuple[Count, ...]
    active_bytes: tuple[Count, ...]
    reserved_bytes: tuple[Count, ...]
    peak_request: Count
    repeats_from: Count | None
    repeats_to: Count | None

    def __post_init__(self) -> None:
        check_columns(self, "request", "allocated_bytes", "active_bytes", "reserved_bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayBlock:
    """A piece of a segment: used, free, or free and split off from what is used; "unmapped" has no memory behind it."""

    offset_bytes: Count
    size_bytes: Size
    state: Literal["used", "free", "split", "unmapped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplaySegment:
    """A segment with its blocks by address."""

    size_bytes: Size
    is_small: bool
    blocks: tuple[ReplayBlock, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayRow:
    """One replay: under what, what it used (bytes; ratios are None where nothing was reserved), and how it ended.

    A row `starts_from` what the recording does, or all the same from an empty pool; None: as the recording does.
    """

    settings: str
    capacity_bytes: Count | None
    card: str | None
    torch: str
    caching: bool
    peak_allocated_bytes: Count
    peak_active_bytes: Count
    peak_reserved_bytes: Count
    peak_requested_bytes: Count
    fragmentation: Ratio | None
    split_fragmentation: Ratio | None
    largest_free_ratio: Ratio | None
    rounding_loss: Ratio | None
    releasable_bytes: Count
    num_alloc_retries: Count
    num_device_allocs: Count
    num_device_frees: Count
    num_played: Count
    outcome: Literal["ok", "oom", "error"]
    death: ReplayOom | None
    least_capacity: LeastCapacity | None
    timeline: Timeline | None
    segments: tuple[ReplaySegment, ...]
    starts_from: Start | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What `lrtool replay` found: a row for each settings on each capacity; `best` is the index of the one to prefer.

    `recorded_oom` is the out-of-memory that the recording itself met. Without a history there was nothing to replay. Of a
    recording that begins in the middle of a process, other settings are played from an empty device too.
    """

    trace: str
    num_requests: Count
    starts_from: Start
    warnings: tuple[str, ...]
    best: int
    rows: Annotated[tuple[ReplayRow, ...], NonEmpty]
    duration_s: Duration
    recorded_oom: RecordedOom | None = None
    has_history: bool = True

    def __post_init__(self) -> None:
        check_index(self.best, self.rows, name="best")
        if all(row.timeline is None for row in self.rows):
            raise ValueError("no row has a timeline")
