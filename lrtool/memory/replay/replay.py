"""A trace under other allocator settings, on another card or with another torch, and whether it survives."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lrtool.errors import UsageError
from lrtool.memory.allocator.caching_allocator import Allocator, UncachedAllocator
from lrtool.memory.allocator.config import AllocatorSettings, parse_settings
from lrtool.memory.allocator.device import Placement
from lrtool.memory.allocator.state import check_invariants
from lrtool.memory.allocator.statistics import Statistics
from lrtool.memory.allocator.versions import LATEST, TieOrder, TorchVersion
from lrtool.memory.metrics import Fragmentation, Moment, Peaks, fragmentation, peaks
from lrtool.memory.replay.player import Player, StepEnd
from lrtool.memory.trace.allocation_trace import AllocationTrace, TraceError
from lrtool.memory.trace.text import plain_text
from lrtool.results import Oom

UNLIMITED_CAPACITY_BYTES = 2**47
CANNOT_COMPARE = (
    "what the process held when the recording began was laid out under the settings it ran with: nothing can be compared "
    "with a replay from there under others"
)
CURE_SETTINGS = (
    "expandable_segments:True",
    "max_split_size_mb:128",
    "max_split_size_mb:512",
    "roundup_power2_divisions:8",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Under what a trace is replayed; without a capacity the device is as large as need be.

    Up to torch 2.11 the addresses decide between free blocks of one size, and the driver gives them: `placement`.
    """

    settings: str = ""
    capacity_bytes: int | None = None
    version: TorchVersion = LATEST
    no_caching: bool = False
    placement: Placement = "up"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """One replay: figures in bytes; `oom` is None where the trace survived.

    `at_peak` is the moment when the most was reserved. Of `num_requests`, `num_played` were
    simulated and the rest proven; after an `oom`, the trace is not played on. `steps` are the first 100,000 at most.
    """

    scenario: Scenario
    num_requests: int
    num_played: int
    peaks: Peaks
    at_peak: Moment
    num_alloc_retries: int
    num_device_allocs: int
    num_device_frees: int
    oom: Oom | None
    steps: tuple[StepEnd, ...]
    stats: dict[str, int]
    warnings: tuple[str, ...]

    @property
    def survived(self) -> bool:
        return self.oom is None

    @property
    def fragmentation(self) -> Fragmentation:
        return fragmentation(self.peaks, self.at_peak)


def replay(trace: AllocationTrace, scenario: Scenario | None = None, *, prove: bool = True) -> ReplayResult:
    """Replay `trace` up to its end or its first failing request; `prove` skips what provably repeats.

    Raises UsageError for settings that the scenario's torch does not have.
    """
    scenario = scenario or Scenario()
    player = Player(trace, build_allocator(trace, scenario), prove=prove)
    oom = player.play()
    return _result(player, scenario, oom)


def build_allocator(trace: AllocationTrace, scenario: Scenario) -> Allocator:
    """The allocator a scenario describes, before the trace's first request."""
    settings = parse_scenario(scenario)
    by_address = scenario.version.tie_order is TieOrder.ADDRESS
    kind = UncachedAllocator if settings.no_caching else Allocator
    return kind(
        settings,
        total_bytes=UNLIMITED_CAPACITY_BYTES if scenario.capacity_bytes is None else scenario.capacity_bytes,
        version=scenario.version,
        manual_events=trace.has_manual_events,
        recorded_segments=trace.recorded_segments if by_address else (),
        placement=scenario.placement,
    )


def parse_scenario(scenario: Scenario) -> AllocatorSettings:
    """The settings in force. Raises UsageError."""
    settings = parse_settings(scenario.settings, version=scenario.version)
    return replace(settings, no_caching=True) if scenario.no_caching else settings


def recorded_settings(trace: AllocationTrace, version: TorchVersion = LATEST) -> str:
    """The settings that the recorded process ran with. Raises TraceError where they are none that lrtool can replay."""
    conf = trace.recorded_settings or ""
    try:
        parse_settings(conf, version=version)
    except UsageError as error:
        raise TraceError(
            f"{trace.name}: its recorded allocator settings cannot be replayed: {plain_text(error.message)}",
            hint="name the ones to replay it under, with --settings",
        ) from None
    return conf


def is_otherwise(trace: AllocationTrace, scenario: Scenario) -> bool:
    """Whether a scenario asks for other settings than those that the recording ran with."""
    own, asked = (each or "" for each in (trace.recorded_settings, scenario.settings))
    if scenario.no_caching or own == asked:
        return scenario.no_caching
    try:
        return parse_scenario(replace(scenario, settings=own)) != parse_scenario(scenario)
    except UsageError:
        return True


def best(results: Iterable[ReplayResult]) -> ReplayResult:
    """The result to prefer: survives, then reserves least, then retries and calls the device least; first of equals."""
    return min(results, key=_preference)


def surviving_settings(
    trace: AllocationTrace, scenario: Scenario, candidates: Sequence[str] = CURE_SETTINGS
) -> tuple[str, ...]:
    """Those of `candidates` under which the trace survives on the scenario's capacity, best first.

    Candidates which the scenario's torch does not have are left out. Of a recording that begins in the middle of a process
    nothing can be said: what is reserved then was laid out under the settings it ran with.
    """
    if trace.start is not None:
        return ()
    scenarios = [replace(scenario, settings=each) for each in candidates if _is_known(replace(scenario, settings=each))]
    results = [replay(trace, each) for each in scenarios]
    return tuple(result.scenario.settings for result in sorted(results, key=_preference) if result.survived)


def _preference(result: ReplayResult) -> tuple[bool, int, int, int]:
    return (not result.survived, result.peaks.reserved_bytes, result.num_alloc_retries, result.num_device_allocs)


def _is_known(scenario: Scenario) -> bool:
    try:
        parse_scenario(scenario)
    except UsageError:
        return False
    return True


def _result(player: Player, scenario: Scenario, oom: Oom | None) -> ReplayResult:
    allocator = player.allocator
    stats = allocator.memory_stats()
    run = _peaks_of_all(allocator.statistics, peaks(stats))
    if isinstance(allocator, UncachedAllocator):
        used = allocator.device.peak_used_bytes
        run = Peaks(allocated_bytes=used, reserved_bytes=used, active_bytes=used, requested_bytes=used)
    else:
        check_invariants(allocator)
    total_bytes = allocator.device.total_bytes
    assert oom is not None or max(run.active_bytes, run.reserved_bytes) <= total_bytes, (
        "it survives with more than there is"
    )
    counts = allocator.statistics.counts
    return ReplayResult(
        scenario=scenario,
        num_requests=len(player.trace),
        num_played=player.num_played,
        peaks=run,
        at_peak=allocator.at_peak or allocator.now(),
        num_alloc_retries=counts.num_alloc_retries,
        num_device_allocs=allocator.device.num_allocs,
        num_device_frees=allocator.device.num_frees,
        oom=oom,
        steps=tuple(player.steps),
        stats=stats,
        warnings=player.trace.warnings,
    )


def _peaks_of_all(statistics: Statistics, since_reset: Peaks) -> Peaks:
    """The peaks of the whole run: a program that resets torch's own peaks on the way needs no less memory for that."""
    return Peaks(
        allocated_bytes=max(since_reset.allocated_bytes, statistics.highest("allocated_bytes_peak")),
        reserved_bytes=max(since_reset.reserved_bytes, statistics.highest("reserved_bytes_peak")),
        active_bytes=max(
            since_reset.active_bytes, *map(statistics.highest, ("active_bytes_peak", "allocated_bytes_peak"))
        ),
        requested_bytes=max(since_reset.requested_bytes, statistics.highest("requested_bytes_peak")),
    )
