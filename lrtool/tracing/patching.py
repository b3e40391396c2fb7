"""Attributes of torch that are others for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_GONE = object()


@contextmanager
def replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Set attributes (object, name, value) for the body, and put back what was there."""
    before = [(holder, name, holder.__dict__.get(name, _GONE)) for holder, name, _ in changes]
    try:
        for holder, name, value in changes:
            setattr(holder, name, value)
        yield
    finally:
        for holder, name, value in reversed(before):
            if value is _GONE:
                delattr(holder, name)
            else:
                setattr(holder, name, value)
