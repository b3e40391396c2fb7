"""How many floating-point operations an operator does, by torch's own formulas: matrix products, convolutions, attention."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.flop_counter import flop_registry


def num_operations(func: Any, args: Sequence[Any], named: Mapping[str, Any], out: Any) -> int:
    """Those of one call; 0 for operators without a formula, which move memory more than they compute."""
    formula = flop_registry.get(func._overloadpacket)
    if formula is None:
        return 0
    try:
        return int(formula(*args, **named, out_val=out))
    except (AssertionError, IndexError, NotImplementedError, TypeError, ValueError):
        return 0  # a form of the operator that the formula does not know
