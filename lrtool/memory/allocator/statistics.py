"""The allocator's counters, and what `torch.cuda.memory_stats` says of them."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace


@dataclass(slots=True)
class Stat:
    """One counter as torch keeps it."""

    current: int = 0
    peak: int = 0
    allocated: int = 0
    freed: int = 0

    def increase(self) -> None:
        self.current += 1
        self.allocated += 1
        self.peak = max(self.peak, self.current)

    def decrease(self) -> None:
        self.current -= 1
        self.freed += 1


@dataclass(slots=True)
class Tally:
    """Counters of one pool, or of all pools together; plain fields, because every request touches them.

    The cumulative `*_came` of requests are kept per pool and summed up when asked for.

    Active is what is allocated plus what was freed but awaits an event. Only while something waits can active peaks
    exceed allocated ones, so they are tracked apart (`active_peak`, `active_bytes_peak`) just then.
    """

    allocations: int = 0
    allocations_came: int = 0
    allocations_peak: int = 0
    allocated_bytes: int = 0
    allocated_bytes_came: int = 0
    allocated_bytes_peak: int = 0
    requested_bytes: int = 0
    requested_bytes_came: int = 0
    requested_bytes_peak: int = 0
    pending: int = 0
    pending_bytes: int = 0
    active_peak: int = 0
    active_bytes_peak: int = 0
    segments: int = 0
    segments_came: int = 0
    segments_peak: int = 0
    reserved_bytes: int = 0
    reserved_bytes_came: int = 0
    reserved_bytes_peak: int = 0
    splits: int = 0
    splits_came: int = 0
    splits_peak: int = 0
    split_bytes: int = 0
    split_bytes_came: int = 0
    split_bytes_peak: int = 0

    @property
    def active(self) -> int:
        return self.allocations + self.pending

    @property
    def active_bytes(self) -> int:
        return self.allocated_bytes + self.pending_bytes

    def note_active_peaks(self) -> None:
        self.active_peak = max(self.active_peak, self.active)
        self.active_bytes_peak = max(self.active_bytes_peak, self.active_bytes)

    def change_splits(self, count: int, num_bytes: int) -> None:
        """Apply the net change of one operation, as free_block does: no transient counts as a peak."""
        self.splits += count
        self.split_bytes += num_bytes
        if count > 0:
            self.splits_came += count
            self.splits_peak = max(self.splits_peak, self.splits)
        if num_bytes > 0:
            self.split_bytes_came += num_bytes
            self.split_bytes_peak = max(self.split_bytes_peak, self.split_bytes)

    def add_reserved(self, num_bytes: int) -> None:
        self.reserved_bytes += num_bytes
        self.reserved_bytes_came += num_bytes
        self.reserved_bytes_peak = max(self.reserved_bytes_peak, self.reserved_bytes)

    def add_segment(self) -> None:
        self.segments += 1
        self.segments_came += 1
        self.segments_peak = max(self.segments_peak, self.segments)

    def reset_peaks(self) -> None:
        self.active_peak, self.active_bytes_peak = self.active, self.active_bytes
        for name in ("allocations", "allocated_bytes", "requested_bytes", "segments", "reserved_bytes", "splits",
                     "split_bytes"):  # fmt: skip
            setattr(self, f"{name}_peak", getattr(self, name))

    def figures(self, since: "Tally") -> Iterator[tuple[str, int, int, int, int]]:
        """(torch's name, current, peak, allocated and freed since the counters were `since`) of each statistic."""
        for name, field in _STORED.items():
            current, came = getattr(self, field), getattr(self, f"{field}_came")
            came_since = came - getattr(since, f"{field}_came")
            yield (
                name,
                current,
                getattr(self, f"{field}_peak"),
                came_since,
                came_since - current + getattr(since, field),
            )
        for name, field, stored in (("active", "active", "allocations"),
                                    ("active_bytes", "active_bytes", "allocated_bytes")):  # fmt: skip
            current = getattr(self, field)
            peak = max(getattr(self, f"{field}_peak"), getattr(self, f"{stored}_peak"))
            came_since = getattr(self, f"{stored}_came") - getattr(since, f"{stored}_came")
            yield name, current, peak, came_since, came_since - current + getattr(since, field)


_STORED = {
    "allocation": "allocations",
    "allocated_bytes": "allocated_bytes",
    "requested_bytes": "requested_bytes",
    "segment": "segments",
    "reserved_bytes": "reserved_bytes",
    "inactive_split": "splits",
    "inactive_split_bytes": "split_bytes",
}
_PEAKS = ("allocated_bytes_peak", "requested_bytes_peak", "active_bytes_peak", "reserved_bytes_peak")


@dataclass(slots=True)
class EventCounts:
    """How often the slow things happened; the names are those of torch.cuda.memory_stats."""

    num_alloc_retries: int = 0
    num_ooms: int = 0
    num_oom_rejections: int = 0
    num_sync_all_streams: int = 0
    num_device_alloc: int = 0
    num_device_free: int = 0


class Statistics:
    """All counters of one device, resettable as torch resets them."""

    __slots__ = ("before_resets", "counts", "large", "max_split_size", "overall", "oversize_allocations", "oversize_segments",
                 "since", "small")  # fmt: skip

    def __init__(self, *, max_split_size: int) -> None:
        self.overall, self.small, self.large = Tally(), Tally(), Tally()
        self.counts = EventCounts()
        self.oversize_allocations, self.oversize_segments = Stat(), Stat()
        self.max_split_size = max_split_size
        self.since = (Tally(), Tally(), Tally())
        self.before_resets: list[Tally] = []

    @property
    def tallies(self) -> tuple[Tally, Tally, Tally]:
        return self.overall, self.small, self.large

    def highest(self, field: str) -> int:
        """The highest peak of one of the overall tally's figures since the beginning, whatever was reset since."""
        highest: int = max(getattr(tally, field) for tally in (self.overall, *self.before_resets))
        return highest

    def reset_peaks(self) -> None:
        before = replace(self.overall)
        before.note_active_peaks()
        self.before_resets = [replace(before, **{name: self.highest(name) for name in _PEAKS})]
        for tally in self.tallies:
            tally.reset_peaks()
        for stat in (self.oversize_allocations, self.oversize_segments):
            stat.peak = stat.current

    def _settle(self) -> None:
        """Sum up what the hot path counts per pool only."""
        for name in ("allocations_came", "allocated_bytes_came", "requested_bytes_came"):
            setattr(self.overall, name, getattr(self.small, name) + getattr(self.large, name))

    def reset_accumulated(self) -> None:
        self._settle()
        overall, small, large = (replace(tally) for tally in self.tallies)
        self.since = (overall, small, large)
        self.counts = EventCounts()
        for stat in (self.oversize_allocations, self.oversize_segments):
            stat.allocated = stat.freed = 0

    def memory_stats(self) -> dict[str, int]:
        """Every statistic under its torch.cuda.memory_stats name; bytes and counts."""
        self._settle()
        stats: dict[str, int] = {}
        for pool, tally, since in zip(("all", "small_pool", "large_pool"), self.tallies, self.since, strict=True):
            for name, current, peak, allocated, freed in tally.figures(since):
                prefix = f"{name}.{pool}"
                stats[f"{prefix}.current"] = current
                stats[f"{prefix}.peak"] = peak
                stats[f"{prefix}.allocated"] = allocated
                stats[f"{prefix}.freed"] = freed
        for name, stat in (
            ("oversize_allocations", self.oversize_allocations),
            ("oversize_segments", self.oversize_segments),
        ):
            stats |= {f"{name}.{field.name}": getattr(stat, field.name) for field in fields(stat)}
        stats |= {field.name: getattr(self.counts, field.name) for field in fields(self.counts)}
        stats["max_split_size"] = self.max_split_size
        return stats
