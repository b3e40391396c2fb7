"""A command line tried in this process, with a limit of its time."""

import contextlib
import gc
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import BinaryIO
from unittest import mock

import pydantic
import typer

from benchmarks.fuzz.attempts import Attempt, Outcome
from benchmarks.fuzz.folder import Template
from lrtool.cli import main as lrtool

MOST_SHOWN_BYTES = 2**24
_OF_THE_TERMINAL = ("COLUMNS", "LINES", "TERMINAL_WIDTH", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS")


class _TooSlowError(BaseException):
    """Raised in the middle of what takes too long."""


def try_inside(attempt: Attempt, template: Template, folder: Path) -> Outcome:
    """What the command line leaves behind in a fresh copy of the template in `folder`."""
    template.copy_to(folder)
    if attempt.file is not None:
        (folder / attempt.file).write_bytes(attempt.content)
    before = _peak_bytes()
    environment = {**_plain_environment(), **attempt.environment}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with ExitStack() as stack:
            stack.enter_context(contextlib.chdir(folder))
            stack.enter_context(mock.patch.dict(os.environ, environment, clear=True))
            stack.enter_context(_modules_forgotten(folder))
            if not attempt.paints:
                stack.enter_context(_unpainted())
            stack.enter_context(speaking_into(out, err))
            code = _code_within(attempt)
        return Outcome(code=code, out=_shown(out), err=_shown(err), grown_bytes=_peak_bytes() - before)


def _code_within(attempt: Attempt) -> int | None:
    late = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal late
        late = True
        raise _TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, attempt.limit_s)
    code: int | None = None
    try:
        with contextlib.suppress(_TooSlowError):
            code = lrtool(list(attempt.arguments))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return None if late else code


def _plain_environment() -> dict[str, str]:
    """That of this process without what lrtool reads."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LRTOOL_") and name not in _OF_THE_TERMINAL
    }


@contextmanager
def _modules_forgotten(folder: Path) -> Iterator[None]:
    """The user's files are imported afresh the next time."""
    paths, known = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = paths
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(f"{folder}{os.sep}"):
                del sys.modules[name]


@contextmanager
def _unpainted() -> Iterator[None]:
    with (
        mock.patch("lrtool.report.files.figure_bytes", return_value=b""),
        mock.patch("lrtool.report.html.html.inline_svg", return_value="<svg></svg>"),
    ):
        yield


@contextmanager
def speaking_into(out: BinaryIO, err: BinaryIO) -> Iterator[None]:
    """stdout and stderr are these files, by whatever means somebody writes there; stdin has nothing to say."""
    kept = [os.dup(number) for number in (0, 1, 2)]
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        for number, descriptor in enumerate((null, out.fileno(), err.fileno())):
            os.dup2(descriptor, number)
        with (
            open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False) as stdout,
            open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False) as stderr,
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            yield
    finally:
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(null)


def _shown(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(MOST_SHOWN_BYTES).decode(errors="replace")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def quicker() -> Iterator[None]:
    """What is made anew for each command line, and is the same for all, is made once: it takes most of their time."""
    gc.collect()
    gc.freeze()  # searches for what refers to a tensor would pass over all of it each time
    with (
        mock.patch("typer.main.get_command", cache(typer.main.get_command)),
        mock.patch("pydantic.TypeAdapter", cache(pydantic.TypeAdapter)),
    ):
        yield
