"""What holds of the figures of any result: as types, whose bounds pydantic checks on reading, and for `__post_init__`.

Both are ValueErrors where a result is read from a file, and name the place in it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, MinLen

Count = Annotated[int, Ge(0)]
"""Bytes, steps, requests: never negative, and by `checked_json` of no more than 63 bits."""
Size = Annotated[int, Gt(0)]
Duration = Annotated[float, Ge(0), Le(1e12)]
LearningRate = Annotated[float, Ge(1e-100), Le(1e100)]
"""Above zero: it stands on a log scale."""
Ratio = Annotated[float, Ge(-1e6), Le(1)]
"""A part of a whole; one that compares a rough count with a finer one may be a little below zero."""
Spread = Annotated[float, Ge(0)]
ByteRate = Annotated[float, Ge(-(2**63)), Le(2**63)]
Exponent = Annotated[float, Ge(-50), Le(50)]
NonEmpty = MinLen(1)


def check_columns(table: Any, *names: str) -> None:
    """Raises ValueError where the columns of a table are not all as long as the first."""
    lengths = [len(getattr(table, name)) for name in names]
    for name, length in zip(names, lengths, strict=True):
        if length != lengths[0]:
            raise ValueError(f"{name} has {length:,} entries, {names[0]} {lengths[0]:,}")


def check_index(index: int, items: Sequence[Any], *, name: str) -> None:
    """Raises ValueError where `index` is not that of an item."""
    if not 0 <= index < len(items):
        raise ValueError(f"{name} is {index}, of {len(items):,}")


def check_date(text: str, *, name: str) -> None:
    """Raises ValueError where `text` is no date in ISO 8601."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} is no date: {text[:40]!r}") from None
