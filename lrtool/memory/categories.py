"""How much memory each category takes at most: parameters, gradients, optimizer state, activations and so on. Pure."""

from collections import Counter
from collections.abc import Mapping

from lrtool.memory.stream import AllocationStream, Op

UNKNOWN = "other"


def most_by_category(stream: AllocationStream) -> Mapping[str, int]:
    """The most requested bytes of each category, each at its own time; what repeats is looked at once.

    Tensors whose category nobody told count as "other".
    """
    sizes = [0] * stream.num_slots
    categories = [UNKNOWN] * stream.num_slots
    live: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for index, op in enumerate(stream.ops):
        slot = stream.slots[index]
        if op == Op.ALLOC:
            category = stream.note(index).category or UNKNOWN
            sizes[slot], categories[slot] = stream.values[index], category
            live[category] += sizes[slot]
            most[category] = max(most[category], live[category])
        elif op == Op.FREE:
            live[categories[slot]] -= sizes[slot]
    return dict(most)
