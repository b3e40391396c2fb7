"""The template of trials' processes: `python -m lrtool.sweep.executors.template_process SOCKET`.

It imports what every trial needs, which takes seconds, and forks a process for each trial that it is asked for, which
takes none. It runs nothing of the user's, trains nothing and touches no GPU itself: a fork of it is as clean as a process
that has just started, and draws its own random numbers where nobody seeds it. Of what an interpreter draws when it starts,
forks share only the seed of hashes, and so an order of sets. It ends with the process that holds the other end of the
socket.
"""

import gc
import importlib
import json
import os
import select
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from lrtool.sweep.executors import process
from lrtool.sweep.executors.template import MAX_REQUEST_BYTES

POLL_S = 0.01
PRELOADED = (
    "torch",
    "torch._dynamo",
    "pydantic.type_adapter",
    "lrtool.sweep.trial",
    "lrtool.diagnosis.trial",
    "lrtool.diagnosis.cure_trials.trial",
)
"""Named and not imported at the top: what runs trials stands below what a trial is.

The first optimizer of a process imports torch._dynamo, which takes longer than the rest of a small trial.
"""
NUM_DESCRIPTORS = 3


def main() -> None:
    """Import what trials need, and fork their processes."""
    requests = int(sys.argv[1])
    with process.ending_with(requests):
        preload()
    serve(requests)


def serve(socket_number: int) -> None:
    """Fork a process for each request, and tell how it ended; in such a process, run its trial.

    A request comes with three descriptors: the trial's log, its lifeline, and a pipe for two lines. In the first its
    process tells its id once it leads a group of its own, in the second this one tells how it ended, as Popen does.
    """
    requests = socket.socket(fileno=socket_number)
    running: dict[int, int] = {}
    while True:
        asked, _, _ = select.select([requests], [], [], POLL_S if running else None)
        _tell_of_ended(running)
        if not asked:
            continue
        request, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, NUM_DESCRIPTORS)
        if not request:
            os._exit(0)  # there is nothing to clean up
        pid = _fork()
        if pid == 0:
            requests.close()
            _close(running.values())
            _run_trial(json.loads(request), *descriptors)
            return
        if pid is not None:
            running[pid] = descriptors.pop()
        _close(descriptors)


def preload() -> None:
    """Import what every trial needs.

    Python's collector would take a quarter of the time, and finds nothing; later, it would go through all of it in vain.
    """
    gc.disable()
    try:
        for name in PRELOADED:
            importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _fork() -> int | None:
    """None where the system refuses: the trial never begins then."""
    try:
        return os.fork()
    except OSError:
        return None


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _tell_of_ended(running: dict[int, int]) -> None:
    """`running` has the pipes by process."""
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pipe = running.pop(pid)
            with suppress(BrokenPipeError):  # nobody waits for it any more
                os.write(pipe, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(pipe)


def _run_trial(order: Mapping[str, Any], log: int, lifeline: int, pipe: int) -> None:
    os.setsid()
    os.write(pipe, b"%d\n" % os.getpid())
    os.close(pipe)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.chdir(order["cwd"])
    os.environ |= order["environment"]
    process.end_with(lifeline)
    _seed_anew()
    importlib.invalidate_caches()  # the user's files may be newer than this process
    process.run_trial(order["module"], order["folder"])


def _seed_anew() -> None:
    """The generators that are not seeded anew in a fork, as Python's own is."""
    sys.modules["torch"].default_generator.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


if __name__ == "__main__":
    main()
