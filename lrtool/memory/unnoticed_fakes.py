"""Libraries that look for fake tensors, to leave out what they cannot trace, find none: they must do what they do on a GPU."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_TESTS = (("transformers.utils.import_utils", "is_fake_tensor"),)
"""transformers 5 always makes a causal mask while something traces: with one, attention takes more memory."""


def _is_none(_tensor: object) -> bool:
    return False


@contextmanager
def unnoticed_fakes() -> Iterator[Callable[[], None]]:
    """Answer such tests within the body; call what it yields once libraries may have been imported."""
    before: list[tuple[Any, str, Any]] = []

    def look() -> None:
        for name, test in _TESTS:
            module = sys.modules.get(name)
            original = getattr(module, test, None)
            if original is not None and original is not _is_none:
                before.append((module, test, original))
                setattr(module, test, _is_none)

    look()
    try:
        yield look
    finally:
        for module, test, original in before:
            setattr(module, test, original)
