"""A template that is forked from the command's own process, as long as that has imported modules and done nothing else.

The command needs torch itself, to read the user's file and to see whether predictions can be trusted; so it is imported
once for both. What the command's process has and one that is started afresh has not is put away in the fork.
"""

import atexit
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


class OwnFork:
    """A process forked from this one; as far as a template goes, it is like `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended; None while it has not."""
        return self._waited(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int | None:
        """How it ended, once it has; `timeout` is not heeded, as it ends at once when it is told to."""
        return self._waited(0)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _waited(self, options: int) -> int | None:
        if self.returncode is None:
            try:
                ended, status = os.waitpid(self.pid, options)
            except ChildProcessError:  # somebody else has waited for it
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode


_owner: list[int] = []


def claim_process() -> None:
    """Say that this process is there for one command line, and for nothing else."""
    _owner[:] = [os.getpid()]


def has_done_nothing() -> bool:
    """Whether this process is a command line's, and has neither loaded torch nor started threads: trials may be forked."""
    is_ours = _owner == [os.getpid()]
    return is_ours and "torch" not in sys.modules and len(list(Path("/proc/self/task").iterdir())) == 1


def fork_template(requests: int, environment: Mapping[str, str]) -> OwnFork:
    """Fork the template of trials, which takes `requests` from a socket; what trials need is imported by now."""
    from lrtool.sweep.executors import template_process

    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or the fork would write it a second time
    pid = os.fork()
    if pid == 0:
        _end_with(lambda: _serve(template_process.serve, requests, environment))
    return OwnFork(pid)


def _serve(serve: Callable[[int], None], requests: int, environment: Mapping[str, str]) -> None:
    os.setsid()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _let_go_of_files(requests)
    sys.path[:] = _path(environment)
    os.environ.clear()
    os.environ.update(environment)
    serve(requests)


def _let_go_of_files(requests: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for file in [int(each.name) for each in Path("/proc/self/fd").iterdir()]:
        if file > 2 and file != requests:
            with suppress(OSError):
                os.close(file)
    if sys.stdout is not None:
        sys.stdout.reconfigure(line_buffering=False)  # type: ignore[union-attr]


def _path(environment: Mapping[str, str]) -> list[str]:
    """Where `python -P` looks for modules: without the folder of the command's script, or the current one."""
    given = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    of_command = {
        "",
        str(Path.cwd()),
        str(Path(sys.argv[0]).resolve().parent),
        str(Path(sys.argv[0]).absolute().parent),
    }
    return list(dict.fromkeys((*given, *(path for path in sys.path if path not in of_command))))


def _end_with(run: Callable[[], None]) -> NoReturn:
    """End this process after `run` as Python ends one, and not in what the command's process was about to do."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
        if code and not isinstance(asked.code, int):
            sys.stderr.write(f"{asked.code}\n")
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    os._exit(code & 255)
