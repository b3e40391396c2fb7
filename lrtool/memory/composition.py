"""What memory consists of where most of it is in use: bytes by category. Pure."""

from collections import Counter
from collections.abc import Mapping

from lrtool.memory.stream import AllocationStream, Op

UNKNOWN = "other"


def composition_at_peak(stream: AllocationStream) -> Mapping[str, int]:
    """Requested bytes by category at the moment when they are most; what repeats is looked at once.

    Tensors whose category nobody told count as "other".
    """
    sizes = [0] * stream.num_slots
    categories = [UNKNOWN] * stream.num_slots
    live: Counter[str] = Counter()
    total = peak = 0
    at_peak: Counter[str] = Counter()
    is_falling = False
    for index, op in enumerate(stream.ops):
        slot = stream.slots[index]
        if op == Op.ALLOC:
            sizes[slot] = stream.values[index]
            categories[slot] = stream.note(index).category or UNKNOWN
            live[categories[slot]] += sizes[slot]
            total += sizes[slot]
            is_falling = False
        elif op == Op.FREE:
            if total > peak and not is_falling:
                peak, at_peak = total, live.copy()
            is_falling = True
            live[categories[slot]] -= sizes[slot]
            total -= sizes[slot]
    if total > peak:
        at_peak = live
    return {category: num_bytes for category, num_bytes in at_peak.items() if num_bytes}
