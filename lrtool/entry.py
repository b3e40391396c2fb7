"""The console script. It loads nothing before Ctrl-C is taken care of: the modules it needs take a while."""

import os
import signal
import sys

INTERRUPTED = "error: interrupted\nhint: nothing had been done yet\n"
NO_FOLDER = "error: the current folder is not there any more\nhint: change to another one\n"


def run() -> None:
    """Run the command line, and end this process with its exit code."""
    try:
        _open_closed_streams()
        code = _code()
    except ImportError as error:  # a package that lrtool is made of
        sys.stderr.write(f"error: lrtool cannot be loaded: {error}\nhint: install it anew: pip install lrtool\n")
        code = 4
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write(INTERRUPTED)
        code = 130
    exec("")  # Python remembers an interrupt of an exec(), as dataclasses do it, and would end by the signal itself
    sys.exit(code)


def _code() -> int:
    if not _is_somewhere():
        sys.stderr.write(NO_FOLDER)
        return 4
    from lrtool.cli import run_to_end

    return run_to_end()


def _open_closed_streams() -> None:
    """Let the null device be what the caller has closed (`>&-`): the next file would be stdout, and Python has none."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", errors="backslashreplace", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", errors="backslashreplace", closefd=False)


def _is_somewhere() -> bool:
    """Whether the current folder is there; imports look into it, and so does whatever takes a path."""
    try:
        os.getcwd()  # noqa: PTH109  as little as can be
    except OSError:
        return False
    return True
