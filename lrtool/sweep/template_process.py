"""The template of trials' processes: `python -m lrtool.sweep.template_process SOCKET`.

It imports what every trial needs, which takes seconds, and forks a process for each trial that it is asked for, which
takes none. It runs nothing of the user's, trains nothing and touches no GPU itself: a fork of it is as clean as a process
that has just started. It ends with the process that holds the other end of the socket.
"""

import importlib
import json
import os
import select
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter  # noqa: F401  a trial's file is read with it

import lrtool.memory.traced
import lrtool.sweep.cure_trial
import lrtool.sweep.diagnosis_trial  # noqa: F401
from lrtool.sweep import trial
from lrtool.sweep.executors import LIFELINE

POLL_S = 0.01
MAX_REQUEST_BYTES = 2**16
NUM_DESCRIPTORS = 3


def main() -> None:
    """Fork a process for each request, and tell how it ended; in such a process, run its trial.

    A request comes with three descriptors: the trial's log, its lifeline, and a pipe for two lines. In the first its
    process tells its id once it leads a group of its own, in the second this one tells how it ended, as Popen does.
    """
    requests = socket.socket(fileno=int(sys.argv[1]))
    running: dict[int, int] = {}
    while True:
        asked, _, _ = select.select([requests], [], [], POLL_S if running else None)
        _tell_of_ended(running)
        if not asked:
            continue
        request, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, NUM_DESCRIPTORS)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            requests.close()
            for pipe in running.values():
                os.close(pipe)
            _run_trial(json.loads(request), *descriptors)
            return
        log, lifeline, running[pid] = descriptors
        os.close(log)
        os.close(lifeline)


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
    os.environ |= {**order["environment"], LIFELINE: str(lifeline)}
    importlib.invalidate_caches()  # the user's files may be newer than this process
    module = importlib.import_module(order["module"])
    sys.argv = [str(module.__file__), order["folder"]]
    trial.main(module.run_trial)


if __name__ == "__main__":
    main()
