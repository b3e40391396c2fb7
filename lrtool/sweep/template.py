"""Processes forked from a template, which has imported torch already: each as clean as a new one, and there at once."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

MODULE = "lrtool.sweep.template_process"


class Forked:
    """A process that a template was asked for, told of on a pipe; as far as it goes, it is like `subprocess.Popen`."""

    def __init__(self, told: int) -> None:
        self.pid = 0
        """0 until it has begun."""
        self.returncode = 0
        """How it ended, once it has."""
        self._pipe = os.fdopen(told, "rb", buffering=0)

    def poll(self) -> int | None:
        """How it ended; None while it has not, or never began."""
        while not self._pipe.closed and select.select([self._pipe], [], [], 0)[0]:
            self._read()
        return self.returncode if self._pipe.closed and self.pid else None

    def never_began(self) -> bool:
        """Whether the template ended before it came to this process."""
        self.poll()
        return self._pipe.closed and not self.pid

    def wait_for_begin(self) -> bool:
        """Wait until it is known whether it begins: it does not where the template has ended."""
        while not self._pipe.closed and not self.pid:
            self._read()
        return bool(self.pid)

    def wait(self) -> None:
        while not self._pipe.closed:
            self._read()

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
            self.returncode = -signal.SIGKILL
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


class Template:
    """The process that others are forked from; it ends with this one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a message is a request
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()

    def fork(self, module: str, folder: Path, environment: Mapping[str, str], *, log: int, lifeline: int) -> Forked:
        """Ask for a process that runs a trial, where this one stands, and with more in its environment."""
        told, tells = os.pipe()
        request = {"module": module, "folder": str(folder), "environment": {**environment}, "cwd": str(Path.cwd())}
        with suppress(OSError):  # where it has ended: the pipe tells
            socket.send_fds(self._requests, [json.dumps(request).encode()], [log, lifeline, tells])
        os.close(tells)
        return Forked(told)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        self._requests.close()
        self._process.wait()


_TEMPLATES: list[Template] = []


def template_for(environment: Mapping[str, str]) -> Template:
    """The template of this process, a new one where its environment has changed or the last one has ended."""
    if _TEMPLATES and (_TEMPLATES[0].environment != environment or _TEMPLATES[0].has_ended()):
        _TEMPLATES.pop().close()
    if not _TEMPLATES:
        _TEMPLATES.append(Template(environment))
    return _TEMPLATES[0]
