"""Libraries that look for fake tensors, to leave out what they cannot trace, find none: they must do what they do on a GPU."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from lrtool.tracing.patching import replaced

_TESTS = (("transformers.utils.import_utils", "is_fake_tensor"),)
"""transformers 5 always makes a causal mask while something traces: with one, attention uses more memory."""


def _is_none(_tensor: object) -> bool:
    return False


@contextmanager
def unnoticed_fakes() -> Iterator[Callable[[], None]]:
    """Answer such tests within the body; call what it yields once libraries may have been imported."""
    with ExitStack() as stack:

        def look() -> None:
            for name, test in _TESTS:
                module = sys.modules.get(name)
                if getattr(module, test, _is_none) is not _is_none:
                    stack.enter_context(replaced((module, test, _is_none)))

        look()
        yield look
