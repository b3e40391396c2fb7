"""Documents damaged in their structure: what an editor, a script or a failing disk makes of a JSON file that parses."""

import copy
import random
from typing import Any

HUGE, TINY = 2**63 - 1, 1e-300
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 10**6, HUGE, 2**63, -(2**63), 10**400, 0.0, -0.5, 0.5, 1.5, TINY, 1e12, 1e100, 1e149,
    1e308, -1e308, float("nan"), float("inf"), -float("inf"), "", "nan", "inf", "-1", "1e5", "x", "none", "ok", "\ud800",
    "\udcff.py", "a\nb", "::error::x", "\x1b[31m\x00", "\u202e\u2028", "$\\frac{", "[red]", "=1+1", "x" * 5000, [], {}, [None],
    [0], [1, 2], [[]], {"": ""}, {"a": {"b": []}}, "2026-01-01", "2026-13-01", "<b>&amp;",
)  # fmt: skip
Place = tuple[Any, Any]
"""A container, and a key or an index in it."""


def damaged(document: Any, rng: random.Random) -> Any:
    """A copy with one to three places changed."""
    whole = [copy.deepcopy(document)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        container, key = _place(whole, rng)
        _change(container, key, whole, rng)
    return whole[0] if whole else None


def _place(whole: list[Any], rng: random.Random) -> Place:
    """Anywhere, long lists as likely as short ones."""
    container: Any = whole
    key: Any = 0
    while isinstance(value := container[key], dict | list) and value and rng.random() < 0.85:
        container, key = value, rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    return container, key


def _change(container: Any, key: Any, whole: list[Any], rng: random.Random) -> None:
    value = container[key]
    kind = rng.choice(("value", "value", "value", "remove", "length", "number", "swap", "key"))
    if kind == "remove" and container is not whole:
        del container[key]
    elif kind == "length" and isinstance(container if container is not whole else value, list):
        items = container if container is not whole else value
        count = rng.choice((0, 1, len(items) // 2, max(0, len(items) - 1), len(items) + 1, 2 * len(items)))
        items[:] = (items * 2)[:count]
    elif kind == "number" and isinstance(value, int | float):
        container[key] = rng.choice(
            (-value, value * 1000, value + 1, value - 1, float(value), str(value), value * 10**18)
        )
    elif kind == "swap" and whole[0]:
        other, place = _place(whole, rng)
        container[key] = copy.deepcopy(other[place])
    elif kind == "key" and isinstance(container, dict):
        container[rng.choice(("", "a\nb", "\udcff", "::error::", "=1", "x"))] = container.pop(key)
    else:
        container[key] = copy.deepcopy(rng.choice(VALUES))
