"""How far a predicted peak may lie from the truth: the trace with every estimate at either end, and other answers."""

import math
from collections.abc import Sequence
from dataclasses import replace

from lrtool.memory.replay.replay import Scenario, replay
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
    below, above = moved_bytes(assumptions)
    if not (below or above or has_estimates(trace)):
        return None
    unlimited = replace(scenario, capacity_bytes=None)
    played = [replay(trace, unlimited).peaks]
    if has_estimates(trace):
        played += [replay(at_end(trace, end), unlimited).peaks for end in ENDS]
    allocated, reserved = ([getattr(each, name) for each in played] for name in ("allocated_bytes", "reserved_bytes"))
    least, most = _spread(assumptions)
    return PeakInterval(
        low_allocated_bytes=max(0, min(allocated) - below),
        high_allocated_bytes=max(allocated) + above,
        low_reserved_bytes=max(0, min(*reserved, math.floor(reserved[0] * least)) - below),
        high_reserved_bytes=max(*reserved, math.ceil(reserved[0] * most)) + above,
    )


def fits_surely(trace: AllocationTrace, scenario: Scenario, assumptions: Sequence[Assumption]) -> bool:
    """Whether the trace survives under the scenario's capacity with every estimate at its most."""
    if scenario.capacity_bytes is None:
        return True
    _, above = moved_bytes(assumptions)
    _, most = _spread(assumptions)
    room = replace(scenario, capacity_bytes=max(0, int(scenario.capacity_bytes / most) - above))
    return replay(at_end(trace, "high") if has_estimates(trace) else trace, room).survived


def moved_bytes(assumptions: Sequence[Assumption]) -> tuple[int, int]:
    """What all other answers together would free and use. Those given at one line of one question count once."""
    asked = {(each.source, each.asked): each for each in assumptions}
    return sum(each.below_bytes or 0 for each in asked.values()), sum(each.above_bytes or 0 for each in asked.values())


def _spread(assumptions: Sequence[Assumption]) -> tuple[float, float]:
    """How far what is reserved may lie from the prediction, as parts of it."""
    has_convolutions = any(each.kind == "convolution" for each in assumptions)
    return CONVOLUTION_SPREAD if has_convolutions else (1.0, 1.0)
