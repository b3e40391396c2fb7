"""The process of a trial, from inside: it ends with the one that started it, and quickly."""

import _io
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

LIFELINE = "LRTOOL_LIFELINE"
"""Names, to a trial's process, a pipe that the sweep holds open: when it closes, the sweep is gone."""


def main(run: Callable[[Path], None]) -> None:
    """Run one trial in this process, which ends with the one that started it."""
    lifeline = os.environ.pop(LIFELINE, "")
    if lifeline:
        threading.Thread(target=_follow, args=(int(lifeline),), daemon=True).start()
    run(Path(sys.argv[1]))
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        _leave()  # Python would wait for the threads that the user's code left running
    skip_last_collection()


def _leave() -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def _follow(lifeline: int) -> None:
    """Wait until the parent is gone; then end this process and all it started."""
    os.read(lifeline, 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def skip_last_collection() -> None:
    """Python would go through all of torch's objects a last time, for half a second, to free what ends with it anyway.

    What that would do for good is to write out what open files still hold, and that is done here.
    """
    for file in [found for found in gc.get_objects() if issubclass(type(found), _io._IOBase)]:
        with suppress(Exception):  # whatever a user's class of files raises, or a full disk
            file.flush()
    gc.freeze()
