"""A parent process that watches a range test: where something ends it without a word, the parent says what, and where.

The user's code runs in the process of the range test, and may end it so that nothing in there can answer: `os._exit()`, a
crash of compiled code, the kernel when memory runs out. So the console script forks before anything heavy is imported.
The child does the work; the parent waits, hands signals on, and ends as the child did.
"""

import mmap
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lrtool.cli.console import open_terminal
from lrtool.cli.points import Points
from lrtool.errors import EXIT_INTERRUPTED, EXIT_UNAVAILABLE, LrtoolError, WorkloadError
from lrtool.workload.distributed.launch import VARIABLES

HANDED_ON = frozenset(
    {
        signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP,
        signal.SIGCONT,
    }
)  # fmt: skip
ENDING = HANDED_ON - {signal.SIGTSTP, signal.SIGCONT}
SAME_INTERRUPT_S = 0.3
LATE_SIGNAL_S = 0.05
_PR_SET_PDEATHSIG = 1
_MEANINGS = {
    signal.SIGSEGV: ("a segmentation fault", "compiled code crashed"),
    signal.SIGBUS: ("a bus error", "compiled code crashed, or /dev/shm is full"),
    signal.SIGILL: ("an illegal instruction", "compiled code was made for another CPU"),
    signal.SIGFPE: ("an arithmetic error", "compiled code crashed"),
    signal.SIGABRT: ("an abort", "compiled code gave up, and what it had to say stands above"),
    signal.SIGKILL: ("a kill", "the kernel does so where memory runs out, which dmesg tells"),
}
"""What the signals are that end a process from inside, and where to look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What the child has told: its exit code once it came to its end, and how far the range test is."""

    exit_code: int | None
    ramp: int
    num_begun: int
    num_done: int
    num_points: int
    run_dir: str

    @property
    def place(self) -> str:
        """Where the range test stands: "in step 8 of ramp 2"."""
        ramp = f" of ramp {self.ramp}" if self.ramp > 1 else ""
        if self.num_begun == 0:
            return f"before its first step{ramp}"
        return (
            f"in step {self.num_begun}{ramp}" if self.num_begun > self.num_done else f"after step {self.num_done}{ramp}"
        )


class Board:
    """Memory that both processes share, and that outlives the child: the child writes there, and the parent reads."""

    _NUMBERS = struct.Struct("<5q")
    _PATH = slice(_NUMBERS.size, 8192)

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._PATH.stop)
        self._numbers = {"exit_code": -1, "ramp": 0, "num_begun": 0, "num_done": 0, "num_points": 0}
        self.tell()

    def tell(self, **changed: int) -> None:
        """Set some of the numbers of Told."""
        self._numbers |= changed
        self._NUMBERS.pack_into(self._memory, 0, *self._numbers.values())

    def tell_folder(self, run_dir: Path) -> None:
        path = os.fsencode(run_dir)[: self._PATH.stop - self._PATH.start]
        self._memory[self._PATH.start : self._PATH.start + len(path)] = path

    def read(self) -> Told:
        exit_code, ramp, num_begun, num_done, num_points = self._NUMBERS.unpack_from(self._memory)
        return Told(
            exit_code=None if exit_code < 0 else exit_code,
            ramp=ramp,
            num_begun=num_begun,
            num_done=num_done,
            num_points=num_points,
            run_dir=os.fsdecode(self._memory[self._PATH].rstrip(b"\0")),
        )


_board: Board | None = None


def points_of(run_dir: Path) -> Points | None:
    """Where the points so far are kept; None in a process that nobody watches, whose caller ends with it."""
    if _board is None:
        return None
    _board.tell_folder(run_dir)
    return Points(run_dir, tell=_board.tell)


def watched(main: Callable[[], int]) -> int:
    """The exit code of `main`, which runs in a child where it is a range test; the parent does not return."""
    global _board
    if not _is_to_be_watched(sys.argv[1:]):
        return main()
    board = Board()
    parent = os.getpid()
    reaped = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would take the child's ending away
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {*HANDED_ON, signal.SIGCHLD})
    try:
        child = os.fork()
    except OSError:
        child = -1
    if child > 0:
        _watch(child, board)
    if child == 0:
        _end_with(parent)
        _board = board
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt_once())
    signal.signal(signal.SIGCHLD, reaped)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    own = os.getpid()
    code = main()
    if os.getpid() == own:  # no copy of it that the user's code forked
        board.tell(exit_code=code)
    return code


def _is_to_be_watched(arguments: Sequence[str]) -> bool:
    """Whether this is a range test of one process that can still be forked: torch must not have been imported.

    Elsewhere than on Linux, forks do not get along with the system's own libraries.
    """
    command = next((word for word in arguments if not word.startswith("-")), None)
    is_alone = sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules
    is_launched = all(os.environ.get(name) for name in VARIABLES)
    return (
        command in ("range-test", "lr-find", "lr_find")
        and is_alone
        and not is_launched
        and not {"-h", "--help"} & set(arguments)
    )


def _end_with(parent: int) -> None:
    """Have the kernel end this process when its parent goes without handing on why, as it does when it is killed."""
    import ctypes  # torch does, too

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_UNAVAILABLE)


def _interrupt_once() -> Callable[[int, Any], None]:
    """A handler of SIGINT that takes one sent to the whole group, and the same handed on by the parent, as one."""
    last = -SAME_INTERRUPT_S

    def interrupt(number: int, frame: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SAME_INTERRUPT_S:
            last = now
            signal.default_int_handler(number, frame)

    return interrupt


def _watch(child: int, board: Board) -> NoReturn:
    """Hand signals on until the child has ended; then say what there is to say, and end likewise."""
    seen: set[int] = set()
    status = _status_of(child, seen)
    while (late := signal.sigtimedwait(ENDING, LATE_SIGNAL_S if os.WIFSIGNALED(status) else 0)) is not None:
        seen.add(late.si_signo)
    told = board.read()
    code = _conclude(status, seen, told)
    if told.run_dir and not told.num_points:
        with suppress(OSError):  # only where it is empty
            Path(told.run_dir).rmdir()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        code = 128 - code  # the first process of a container lives on
    os._exit(code)


def _status_of(child: int, seen: set[int]) -> int:
    """How the child ended, as waitpid tells it; which ending signals came by then is kept in `seen`."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if ended and not os.WIFSTOPPED(status):
            return status
        if ended:
            _stop()
        came = signal.sigwaitinfo({*HANDED_ON, signal.SIGCHLD})
        if came.si_signo in ENDING:
            seen.add(came.si_signo)
        if came.si_signo != signal.SIGCHLD and came.si_code <= 0:  # those of the terminal reach the child by themselves
            with suppress(ProcessLookupError):
                os.kill(child, came.si_signo)


def _stop() -> None:
    """Stop as the child did, until both are continued."""
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})


def _conclude(status: int, seen: set[int], told: Told) -> int:
    """The exit code to end with, or the signal, below zero; what the child could not say any more is said here."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0 and -code in seen:
        _say(told, note=f"ended by {_name(-code)} {told.place}; {_kept(told)}")
        return code
    if told.exit_code is not None:
        if code < 0:
            _say(told, note=f"all was done; on its way out the process was ended by {_name(-code)}")
        return told.exit_code
    if seen:  # a handler of the user's, say, that ends the process on SIGTERM
        _say(told, note=f"ended with exit code {code} {told.place}; {_kept(told)}")
        return EXIT_INTERRUPTED
    error = _exited(code, told) if code >= 0 else _killed(-code, told)
    _say(told, error=error)
    return error.exit_code


def _exited(code: int, told: Told) -> LrtoolError:
    return WorkloadError(
        f"the user's code ended the process {told.place}, with exit code {code}",
        hint=f"look for os._exit(), or for a library that calls exit(); {_kept(told)}",
    )


def _killed(number: int, told: Told) -> LrtoolError:
    what, why = _MEANINGS.get(signal.Signals(number), ("", "look for os.kill()")) if _is_known(number) else ("", "")
    crashed = "; python -X faulthandler -m lrtool ... shows the line" if why.startswith("compiled") else ""
    return WorkloadError(
        f"the process was ended by {_name(number)}{f', {what},' if what else ''} {told.place}",
        hint=f"{why}{crashed}; {_kept(told)}".removeprefix("; "),
    )


def _kept(told: Told) -> str:
    if not told.num_points:
        return "nothing had been measured yet"
    return f"{told.num_points} points are kept in {Path(told.run_dir) / Points.FILE}"


def _name(number: int) -> str:
    return signal.Signals(number).name if _is_known(number) else f"signal {number}"


def _is_known(number: int) -> bool:
    return number in set(signal.Signals)


def _say(told: Told, *, error: LrtoolError | None = None, note: str = "") -> None:
    terminal = open_terminal(quiet=bool({"-q", "--quiet"} & set(sys.argv)))
    if terminal.interactive:  # a bar stood there, without a cursor
        terminal.err.file.write("\r\x1b[2K\x1b[?25h")
    with suppress(OSError):
        if error is not None:
            terminal.error(error)
        else:
            terminal.note(note)
        terminal.err.file.flush()
