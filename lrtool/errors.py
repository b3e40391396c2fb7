"""Every failure a user can meet, as a tree of exceptions that carry their own hint and exit code.

    LrtoolError
    ├── GateFailed          1   measured, and the answer to a gate is no
    ├── UsageError          2   the command line or a settings file is wrong
    ├── WorkloadError       3   the user's code failed, or does not describe a training setup
    ├── UnavailableError    4   this machine cannot: no such device, no optional package, no room on the disk
    ├── Interrupted       130   Ctrl-C; what was measured by then is kept
    └── Defect             70   lrtool itself failed

Exit code 0 is "done".
"""

import difflib
from collections.abc import Iterable

EXIT_DONE = 0
EXIT_GATE = 1
EXIT_USAGE = 2
EXIT_WORKLOAD = 3
EXIT_UNAVAILABLE = 4
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130

EXIT_CODES = {
    EXIT_DONE: "done; also when the measured curve supports no suggestion",
    EXIT_GATE: "measured, and the answer to a gate is no",
    EXIT_USAGE: "the command line or a settings file is wrong",
    EXIT_WORKLOAD: "the user's code failed, ended the process, or does not describe a training setup",
    EXIT_UNAVAILABLE: "this machine cannot: no such device, a package missing, a folder that cannot be written; "
    "runs are not comparable",
    EXIT_DEFECT: "a defect of lrtool",
    EXIT_INTERRUPTED: "interrupted; what was measured by then is kept",
}
"""What they mean, as it is documented."""


MAX_MESSAGE, MAX_TRACE = 2**11, 2**14
"""Characters of a message and of a trace: an exception's text may hold a whole tensor."""


def cut(text: str, length: int = MAX_MESSAGE) -> str:
    """At most so many characters, the last three of which tell that there were more."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


class LrtoolError(Exception):
    """A failure told in two lines: what went wrong (`message`), and what to do about it (`hint`)."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str, *, hint: str, trace: str | None = None) -> None:
        self.message = cut(message)
        super().__init__(self.message)
        self.hint = cut(hint)
        self.trace = None if trace is None else cut(trace, MAX_TRACE)  # the user's own frames, where their code raised


class GateFailed(LrtoolError):
    """Measured, and the answer to a gate is no."""

    exit_code = EXIT_GATE


class UsageError(LrtoolError):
    """The command line or a settings file is wrong."""


class WorkloadError(LrtoolError):
    """The user's code failed, or does not describe a training setup."""

    exit_code = EXIT_WORKLOAD


class UnavailableError(LrtoolError):
    """This machine cannot do what was asked."""

    exit_code = EXIT_UNAVAILABLE


class Interrupted(LrtoolError):
    """Ctrl-C; what was measured by then is kept."""

    exit_code = EXIT_INTERRUPTED


class Defect(LrtoolError):
    """lrtool itself failed."""

    exit_code = EXIT_DEFECT

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="this is a defect of lrtool; -vv shows where, please report it")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The hint for a misspelt `word`: its nearest spelling, else the list of all `known` words."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(known)}" if known else "nothing is known by that name here"
