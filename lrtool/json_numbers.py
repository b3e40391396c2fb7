"""Numbers in a file somebody else may have written: what no figure can be is refused before anything is computed of it."""

import json
import math

MAX_INTEGER = 2**63 - 1


class NumberOutOfRange(ValueError):
    """A number that no figure can be."""


def check_numbers(text: str | bytes) -> None:
    """Look at every number of a JSON document. Raises NumberOutOfRange for one that is not finite or has over 63 bits."""
    json.loads(text, parse_int=_bounded, parse_float=_finite, parse_constant=_finite)


def _bounded(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
        raise NumberOutOfRange(f"{digits[:20]}... is out of range")
    return int(digits)


def _finite(digits: str) -> float:
    if not math.isfinite(float(digits)):
        raise NumberOutOfRange(f"{digits[:20]} is not finite")
    return float(digits)
