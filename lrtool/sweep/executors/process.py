"""The process of a trial, from inside: `python -m lrtool.sweep.executors.process MODULE DIR`.

It ends with the one that started it, also while it still imports what it needs, and quickly.
"""

import _io
import gc
import importlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

LIFELINE = "LRTOOL_LIFELINE"
"""Names, to a trial's process, a pipe that the sweep holds open: when it closes, the sweep is gone."""


def main() -> None:
    """Run the trial of which the command line tells."""
    end_with(int(os.environ.pop(LIFELINE)))
    run_trial(*sys.argv[1:])


def run_trial(name: str, folder: str) -> None:
    """Run one trial in this process, with the `run_trial` of the module of that name."""
    module = importlib.import_module(name)
    sys.modules["__main__"] = module  # what processes that are spawned by this one import as theirs
    sys.argv = [str(module.__file__), folder]
    module.run_trial(Path(folder))
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        _leave()  # Python would wait for the threads that the user's code left running
    skip_last_collection()


def _leave() -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def end_with(lifeline: int) -> None:
    """From now on, this process and all it started end as soon as the other end of a pipe is closed."""
    threading.Thread(target=_follow, name="lifeline", args=(lifeline,), daemon=True).start()


def _follow(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


@contextmanager
def ending_with(requests: int) -> Iterator[None]:
    """Meanwhile, this process ends as soon as the other end of a socket is closed; no thread is left afterwards."""
    done, tells = os.pipe()
    thread = threading.Thread(target=_leave_when_closed, args=(requests, done))
    thread.start()
    try:
        yield
    finally:  # else the thread, which nobody tells, would keep a process that fails from ending
        os.close(tells)
        thread.join()
        os.close(done)


def _leave_when_closed(requests: int, done: int) -> None:
    closed = select.poll()
    closed.register(requests, select.POLLHUP)
    closed.register(done, select.POLLHUP)
    if (requests, select.POLLHUP) in closed.poll():
        os._exit(0)


def skip_last_collection() -> None:
    """Python would go through all of torch's objects a last time, for half a second, to free what ends with it anyway.

    What that would do for good is to write out what open files still hold, and that is done here.
    """
    for file in [found for found in gc.get_objects() if issubclass(type(found), _io._IOBase)]:
        with suppress(Exception):  # whatever a user's class of files raises, or a full disk
            file.flush()
    gc.freeze()


if __name__ == "__main__":
    main()
