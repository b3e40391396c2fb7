"""The smallest device on which a trace survives."""

import math
from dataclasses import dataclass, replace

from lrtool.memory.allocator.config import SEGMENT_GRANULE_BYTES
from lrtool.memory.replay.replay import ReplayResult, Scenario, parse_scenario, replay
from lrtool.memory.trace.allocation_trace import AllocationTrace

MAX_ASCENDING_REQUESTS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MinCapacity:
    """`capacity_bytes` is the least on which the trace survives, if need be by flushing its cache.

    `is_proven` says that every smaller capacity was ruled out; else only the next smaller one was, and survival on
    smaller ones yet is merely unlikely. `unpressured_peak_bytes` is what it reserves where nothing is scarce.
    """

    capacity_bytes: int
    unpressured_peak_bytes: int
    is_proven: bool
    num_alloc_retries: int


def min_capacity(trace: AllocationTrace, scenario: Scenario | None = None) -> MinCapacity | None:
    """Search the least capacity under a scenario (whose own capacity is ignored); None where none is enough.

    Capacities are tried on the grid of segment sizes, 2 MiB, or of single bytes where caching is off.
    """
    scenario = replace(scenario or Scenario(), capacity_bytes=None)
    unpressured = replay(trace, scenario)
    if not unpressured.survived:
        return None
    settings = parse_scenario(scenario)
    grain = 1 if settings.no_caching else math.gcd(SEGMENT_GRANULE_BYTES, settings.large_segment_bytes)
    search = _Search(trace, scenario, grain)
    low = -(-max(unpressured.peaks.active_bytes, 1) // grain)
    survivor = search.bisect(low, -(-max(unpressured.peaks.reserved_bytes, 1) // grain))
    if survivor is None:
        return None
    found, result = survivor
    proven = search.ascend(low, found)
    if proven is not None:
        found, result = proven
    return MinCapacity(
        capacity_bytes=found * grain,
        unpressured_peak_bytes=unpressured.peaks.reserved_bytes,
        is_proven=search.is_exhaustive,
        num_alloc_retries=result.num_alloc_retries,
    )


class _Search:
    """Runs at capacities of whole grains, each at most once."""

    def __init__(self, trace: AllocationTrace, scenario: Scenario, grain: int) -> None:
        self._trace = trace
        self._scenario = scenario
        self._grain = grain
        self._results: dict[int, ReplayResult] = {}
        self.is_exhaustive = False

    def at(self, grains: int) -> ReplayResult:
        if grains not in self._results:
            scenario = replace(self._scenario, capacity_bytes=grains * self._grain)
            self._results[grains] = replay(self._trace, scenario)
        return self._results[grains]

    def bisect(self, low: int, high: int) -> tuple[int, ReplayResult] | None:
        """A surviving capacity whose next smaller one does not, from `low` to `high` or, with fractions, beyond."""
        while not self.at(high).survived:
            low, high = high + 1, high * 2
            if high * self._grain > 2**46:
                return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.at(middle).survived else (middle + 1, high)
        return high, self.at(high)

    def ascend(self, low: int, found: int) -> tuple[int, ReplayResult] | None:
        """A smaller surviving capacity than `found`, if trying from `low` upwards meets one within its budget."""
        budget = MAX_ASCENDING_REQUESTS
        for grains in range(low, found):
            result = self.at(grains)
            if result.survived:
                found = grains
                break
            budget -= result.num_played
            if budget < 0:
                return None
        self.is_exhaustive = True
        return found, self.at(found)
