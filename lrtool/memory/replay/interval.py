"""How far a predicted peak may lie from the truth: the trace with every estimate at either end, and other answers."""

from collections.abc import Sequence
from dataclasses import replace

from lrtool.memory.metrics import Peaks
from lrtool.memory.replay.replay import Scenario, replay
from lrtool.memory.trace.allocation_trace import AllocationTrace
from lrtool.memory.trace.bounds import End, at_end, has_estimates
from lrtool.results import Assumption, PeakInterval


def peak_interval(trace: AllocationTrace, scenario: Scenario, assumptions: Sequence[Assumption]) -> PeakInterval | None:
    """Where the peaks lie without a limit on memory; None where nothing moves them.

    Estimated sizes are replayed all at their least, and all at their most. What other answers would free or use is added to
    that, as if all were wrong at once.
    """
    below, above = moved_bytes(assumptions)
    if not (below or above or has_estimates(trace)):
        return None
    unlimited = replace(scenario, capacity_bytes=None)
    likely = replay(trace, unlimited).peaks
    low, high = (_at(trace, unlimited, end, likely) for end in ("low", "high"))
    return PeakInterval(
        low_allocated_bytes=max(0, min(likely.allocated_bytes, low.allocated_bytes) - below),
        high_allocated_bytes=max(likely.allocated_bytes, high.allocated_bytes) + above,
        low_reserved_bytes=max(0, min(likely.reserved_bytes, low.reserved_bytes) - below),
        high_reserved_bytes=max(likely.reserved_bytes, high.reserved_bytes) + above,
    )


def fits_surely(trace: AllocationTrace, scenario: Scenario, assumptions: Sequence[Assumption]) -> bool:
    """Whether the trace survives under the scenario's capacity with every estimate at its most."""
    if scenario.capacity_bytes is None:
        return True
    _, above = moved_bytes(assumptions)
    worst = at_end(trace, "high") if has_estimates(trace) else trace
    return replay(worst, replace(scenario, capacity_bytes=max(0, scenario.capacity_bytes - above))).survived


def moved_bytes(assumptions: Sequence[Assumption]) -> tuple[int, int]:
    """What all other answers together would free and use. Those given at one line of one question count once."""
    asked = {(each.source, each.asked): each for each in assumptions}
    return sum(each.below_bytes or 0 for each in asked.values()), sum(each.above_bytes or 0 for each in asked.values())


def _at(trace: AllocationTrace, scenario: Scenario, end: End, likely: Peaks) -> Peaks:
    return replay(at_end(trace, end), scenario).peaks if has_estimates(trace) else likely
