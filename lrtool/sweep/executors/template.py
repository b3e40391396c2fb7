"""Processes forked from a template, which has imported torch already: each as clean as a new one, and there at once."""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from lrtool.sweep.executors.own_template import OwnFork, fork_template, has_done_nothing

MODULE = "lrtool.sweep.executors.template_process"
MAX_REQUEST_BYTES = 2**16
Start = Callable[[int, Mapping[str, str]], "subprocess.Popen[bytes] | OwnFork"]


class Forked:
    """A process that a template was asked for, told of on a pipe; as far as it goes, it is like `subprocess.Popen`."""

    def __init__(self, template: "Template", told: int) -> None:
        self.pid = 0
        """0 until it has begun."""
        self.returncode = 0
        """How it ended, once it has."""
        self.is_lost = False
        """Whether the template ended, and with it this process, which may have done nothing wrong."""
        self._template = template
        self._is_revoked = False
        self._pipe = os.fdopen(told, "rb", buffering=0)
        self._poll = select.poll()  # unlike select, it takes descriptors of a thousand and more
        self._poll.register(self._pipe, select.POLLIN)

    def poll(self) -> int | None:
        """How it ended; None while it has not, or never began."""
        while not self._pipe.closed and self._poll.poll(0):
            self._read()
        return self.returncode if self._pipe.closed and (self.pid or self._is_revoked) else None

    def never_began(self) -> bool:
        """Whether the template ended before it came to this process."""
        self.poll()
        return self._pipe.closed and not self.pid and not self._is_revoked

    def wait(self) -> None:
        while not self._pipe.closed:
            self._read()

    def kill_group(self) -> None:
        """End it and what it started; where it has not begun, its template must not begin it any more, and ends."""
        self.poll()
        if self.pid:
            _kill_group(self.pid)
        elif not self._pipe.closed:
            self._is_revoked, self.returncode = True, -signal.SIGKILL
            self._template.end()
            self.wait()

    def _read(self) -> None:
        """The next line, its id or how it ended; or there is none, as the template has ended, and with it this process."""
        line = b""
        while not line.endswith(b"\n") and (byte := self._pipe.read(1)):
            line += byte
        if line and not self.pid:
            self.pid = int(line)
            return
        self._pipe.close()
        if line:
            self.returncode = int(line)
        elif self.pid:
            self.is_lost, self.returncode = True, -signal.SIGKILL
            _kill_group(self.pid)


class Template:
    """The process that others are forked from; it ends with this one."""

    def __init__(self, environment: Mapping[str, str], start: "Start | None" = None) -> None:
        """`start` starts its process, with the descriptor of a socket and the environment; by default, a new one."""
        self.environment = dict(environment)
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a message is a request
        with theirs:
            self._process = (start or _started_afresh)(theirs.fileno(), self.environment)

    def fork(self, module: str, folder: Path, environment: Mapping[str, str], *, log: int, lifeline: int) -> Forked:
        """Ask for a process that runs a trial, where this one stands, and with more in its environment.

        It never begins where the template has ended, or cannot be told.
        """
        told, tells = os.pipe()
        order = {"module": module, "folder": str(folder), "environment": {**environment}, "cwd": str(Path.cwd())}
        request = json.dumps(order).encode()
        if len(request) <= MAX_REQUEST_BYTES:
            with suppress(OSError):  # where it has ended: the pipe tells
                socket.send_fds(self._requests, [request], [log, lifeline, tells])
        os.close(tells)
        return Forked(self, told)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        """End it at once, whatever it does; it holds nothing that is worth keeping."""
        self.leave_alone()
        self._process.kill()
        self._process.wait()

    def leave_alone(self) -> None:
        """Let go of it."""
        self._requests.close()


def _started_afresh(requests: int, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", MODULE, str(requests)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        pass_fds=(requests,),
        start_new_session=True,
    )


_TEMPLATES: list[Template] = []


def begin_own_template(environment: Callable[[], Mapping[str, str]]) -> None:
    """Import what trials need, and fork their template from this process, where that has done nothing yet.

    The imports may leave something in the environment, which is asked for afterwards.
    """
    if not _TEMPLATES and has_done_nothing():
        import_module(MODULE).preload()
        _TEMPLATES.append(Template(environment(), start=fork_template))


def template_for(environment: Mapping[str, str]) -> Template:
    """The template of this process, a new one where its environment has changed or the last one has ended."""
    if _TEMPLATES and (_TEMPLATES[0].environment != environment or _TEMPLATES[0].has_ended()):
        _TEMPLATES.pop().end()
    if not _TEMPLATES:
        _TEMPLATES.append(Template(environment))
    return _TEMPLATES[0]


@atexit.register
def _end_all() -> None:
    while _TEMPLATES:
        _TEMPLATES.pop().end()


def _leave_all_alone() -> None:
    """A fork of this process, such as a DataLoader's worker, has no template, and keeps none alive that is not its own."""
    while _TEMPLATES:
        _TEMPLATES.pop().leave_alone()


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_leave_all_alone)
