"""The end of a process that has imported torch, in no time."""

import _io
import gc
from contextlib import suppress


def skip_last_collection() -> None:
    """Python would go through all of torch's objects a last time, for half a second, to free what ends with it anyway.

    What that would do for good is to write out what open files still hold, and that is done here.
    """
    for file in [found for found in gc.get_objects() if issubclass(type(found), _io._IOBase)]:
        with suppress(Exception):  # whatever a user's class of files raises, or a full disk
            file.flush()
    gc.freeze()
