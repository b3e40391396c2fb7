"""How far a predicted peak may lie from the truth: with every estimate at either end, other answers, other addresses."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from lrtool.memory.allocator.device import Placement
from lrtool.memory.allocator.versions import TieOrder
from lrtool.memory.replay.replay import ReplayResult, Scenario, replay
from lrtool.memory.trace.allocation_trace import AllocationTrace
from lrtool.memory.trace.bounds import ENDS, at_end, has_estimates
from lrtool.results import Assumption, PeakInterval

CONVOLUTION_SPREAD = (0.91, 1.21)
"""Reserved memory of public runs with convolutions lay between these parts of the prediction (19 rows of xMem and of a T4):
workspaces that come and go fragment it in ways that no replay of estimates shows."""


def peak_interval(trace: AllocationTrace, scenario: Scenario, assumptions: Sequence[Assumption]) -> PeakInterval | None:
    """Where the peaks lie without a limit on memory; None where nothing moves them.

    Estimated sizes are replayed all at their least, and all at their most; where they fragment memory the more for it, more
    is reserved with less. What other answers would free or use is added to that, as if all were wrong at once.
    """
    is_exact = not (any(moved_bytes(assumptions)) or has_estimates(trace)) and _spread(assumptions) == (1.0, 1.0)
    if is_exact and not _placed_otherwise(scenario):
        return None
    played = [each.peaks for each in replays_otherwise(trace, replace(scenario, capacity_bytes=None))]
    allocated = ends([each.allocated_bytes for each in played], assumptions)
    reserved = ends([each.reserved_bytes for each in played], assumptions, is_reserved=True)
    if allocated[0] == allocated[1] and reserved[0] == reserved[1]:
        return None
    return PeakInterval(
        low_allocated_bytes=allocated[0],
        high_allocated_bytes=allocated[1],
        low_reserved_bytes=reserved[0],
        high_reserved_bytes=reserved[1],
    )


def replays_otherwise(trace: AllocationTrace, scenario: Scenario) -> list[ReplayResult]:
    """The trace as it is, with its estimates at either end, and with segments elsewhere, where addresses decide anything."""
    traces = [trace, *(at_end(trace, end) for end in ENDS)] if has_estimates(trace) else [trace]
    played = [replay(each, scenario) for each in traces]
    return [*played, *(replay(trace, each) for each in _placed_otherwise(scenario))]


def _placed_otherwise(scenario: Scenario) -> list[Scenario]:
    """With segments elsewhere, where the release goes by addresses."""
    if scenario.version.tie_order is not TieOrder.ADDRESS:
        return []
    return [replace(scenario, placement=each) for each in get_args(Placement) if each != scenario.placement]


def ends(values: Sequence[int], assumptions: Sequence[Assumption], *, is_reserved: bool = False) -> tuple[int, int]:
    """Between which bytes a figure lies of which replays gave `values`, the likely one first."""
    below, above = moved_bytes(assumptions)
    least, most = _spread(assumptions) if is_reserved else (1.0, 1.0)
    low, high = min(*values, math.floor(values[0] * least)), max(*values, math.ceil(values[0] * most))
    return max(0, low - below), high + above


def fits_surely(trace: AllocationTrace, scenario: Scenario, assumptions: Sequence[Assumption]) -> bool:
    """Whether the trace survives under the scenario's capacity with every estimate at its most, wherever segments lie."""
    if scenario.capacity_bytes is None:
        return True
    _, above = moved_bytes(assumptions)
    _, most = _spread(assumptions)
    room = replace(scenario, capacity_bytes=max(0, int(scenario.capacity_bytes / most) - above))
    most_used = at_end(trace, "high") if has_estimates(trace) else trace
    return all(replay(most_used, each).survived for each in (room, *_placed_otherwise(room)))


def moved_bytes(assumptions: Sequence[Assumption]) -> tuple[int, int]:
    """What all other answers together would free and use. Those given at one line of one question count once."""
    asked = {(each.source, each.asked): each for each in assumptions}
    return sum(each.below_bytes or 0 for each in asked.values()), sum(each.above_bytes or 0 for each in asked.values())


def _spread(assumptions: Sequence[Assumption]) -> tuple[float, float]:
    """How far what is reserved may lie from the prediction, as parts of it."""
    has_convolutions = any(each.kind == "convolution" for each in assumptions)
    return CONVOLUTION_SPREAD if has_convolutions else (1.0, 1.0)
