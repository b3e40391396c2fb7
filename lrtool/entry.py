"""The console script. It loads nothing before Ctrl-C is taken care of: the modules it needs take a while."""

import signal
import sys

INTERRUPTED = "error: interrupted\nhint: nothing had been done yet\n"


def run() -> None:
    """Run the command line, and end this process with its exit code."""
    try:
        from lrtool.cli import run_to_end

        code = run_to_end()
    except ImportError as error:  # a package that lrtool is made of
        sys.stderr.write(f"error: lrtool cannot be loaded: {error}\nhint: install it anew: pip install lrtool\n")
        code = 4
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write(INTERRUPTED)
        code = 130
    exec("")  # Python remembers an interrupt of an exec(), as dataclasses do it, and would end by the signal itself
    sys.exit(code)
