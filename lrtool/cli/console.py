"""The terminal, decided once: what goes to stdout and what to stderr, colour, width, progress, `--json` and `--quiet`."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from lrtool.errors import LrtoolError, UnavailableError
from lrtool.units import format_duration, format_lr, one_line, printable
from lrtool.workload.distributed.launch import speaks

Color = Literal["auto", "always", "never"]
PIPED_WIDTH = 80
_LEAST_SIZES = {"COLUMNS": 20, "LINES": 5, "TERMINAL_WIDTH": 20}
"""The variables that rich and typer read the terminal's size from, and what no terminal is smaller than."""
BACKENDS = frozenset(
    {
        "agg", "cairo", "gtk3agg", "gtk3cairo", "gtk4agg", "gtk4cairo", "macosx", "nbagg", "notebook", "pdf", "pgf", "ps",
        "qt5agg", "qt5cairo", "qtagg", "qtcairo", "svg", "template", "tkagg", "tkcairo", "webagg", "wx", "wxagg", "wxcairo",
    }
)  # fmt: skip
"""What MPLBACKEND may be, besides a module: with anything else matplotlib cannot even be imported."""
HEARTBEAT_S = 10.0
_COMMAND = re.compile(r"^(\s*):(?=:)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terminal:
    """Where a command speaks: `out` for its result and nothing else, `err` for everything else."""

    out: Console
    err: Console
    quiet: bool = False
    verbose: int = 0
    interactive: bool = False

    def result(self, *parts: RenderableType) -> None:
        self.out.width = max(self.out.width, PIPED_WIDTH)  # a narrower terminal folds lines, rather than lose digits
        with _written_to_stdout():
            for part in parts:
                shown = _Printable(part)
                self.out.print(shown, markup=False, highlight=False, soft_wrap=isinstance(part, str | Text))
            self.out.file.flush()

    def result_text(self, text: str) -> None:
        """Text on stdout as it is, for a program that reads it."""
        with _written_to_stdout():
            self.out.file.write(text)
            self.out.file.flush()

    def note(self, text: str) -> None:
        """One line of narration on stderr; none with --quiet."""
        if not self.quiet:
            self._say(Text(_uncommanding(one_line(text)), style="dim"))

    def error(self, error: LrtoolError) -> None:
        """The user's own frames where there are some, then the two lines."""
        if error.trace:
            self._say(Text(_uncommanding(printable(error.trace)), style="dim"))
        for label, style, text in (("error:", "bold red", error.message), ("hint:", "bold cyan", error.hint)):
            line = Text(label, style=style).append(f" {_uncommanding(one_line(text))}", style="not bold default")
            self._say(line)

    def _say(self, line: Text) -> None:
        """On stderr, where there is one: what is said there is no part of the result."""
        with suppress(OSError, ValueError):
            self.err.print(line, highlight=False, soft_wrap=True)


def open_terminal(*, color: Color = "auto", quiet: bool = False, verbose: int = 0) -> Terminal:
    """A terminal on copies of the process's stdout and stderr, which user code can neither close nor write into.

    Of several ranks only the first one speaks.
    """
    forget_nonsense_sizes()
    _forget_nonsense_backend()
    is_heard = speaks()
    out, err = (_copy_of(1), _copy_of(2)) if is_heard else (_nowhere(), _nowhere())
    return Terminal(
        out=_console(out, color),
        err=_console(err, color),
        quiet=quiet or not is_heard,
        verbose=verbose,
        interactive=err.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI"),
    )


def forget_nonsense_sizes() -> None:
    """Drop from the environment what is no size of a terminal: rich would print nothing into 0 columns, or fail at a word."""
    for name, least in _LEAST_SIZES.items():
        size = os.environ.get(name, "")
        if not (size.isascii() and size.isdecimal() and len(size) <= 4 and int(size) >= least):
            os.environ.pop(name, None)


def _forget_nonsense_backend() -> None:
    """Drop from the environment a name that matplotlib may not know: plots of lrtool need none, and it chooses one itself."""
    backend = os.environ.get("MPLBACKEND", "")
    if backend.lower() not in BACKENDS and not backend.startswith("module://"):
        os.environ.pop("MPLBACKEND", None)


@contextmanager
def _written_to_stdout() -> Iterator[None]:
    """A reader that has seen enough (`| head -1`) is no error. Raises UnavailableError where stdout has no room."""
    try:
        yield
    except BrokenPipeError:
        return
    except OSError as error:
        raise UnavailableError(
            f"the result cannot be written to stdout: {error.strerror}", hint="make room, or write it elsewhere"
        ) from error


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """While user code runs, whatever it prints, by whatever means, goes to stderr: stdout is the result's alone."""
    _flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


@dataclass(frozen=True, slots=True)
class _Printable:
    """What is printed of `part`, but for control characters in its texts."""

    part: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        part = Text(self.part) if isinstance(self.part, str) else self.part
        is_blank = True  # so far in this line
        for text, style, control in console.render(part, options):
            shown = printable(text)
            yield Segment(_uncommanding(shown, is_blank=is_blank), style, control)
            is_blank = (is_blank or "\n" in shown) and not shown.rpartition("\n")[2].strip()


def _uncommanding(text: str, *, is_blank: bool = True) -> str:
    """Text of which GitHub's runner takes no line for a command: `::` where a line begins, or `##[` anywhere.

    `is_blank` says that nothing stands before it in its line.
    """
    first, newline, rest = text.partition("\n") if not is_blank else ("", "", text)
    return (first + newline + _COMMAND.sub(r"\1\\x3a:", rest)).replace("##[", "#\\x23[")


ShowRamp = Callable[[int, int, float, float, float], None]


@contextmanager
def progress_of_ramp(terminal: Terminal) -> Iterator[ShowRamp]:
    """A function (step, num_steps, lr, loss, best_loss) that shows where the ramp stands.

    A bar that vanishes at the end on a terminal; elsewhere a line every ten seconds; nothing with --quiet.
    """
    if terminal.quiet:
        yield lambda *position: None
    elif terminal.interactive:
        yield from _bar(terminal)
    else:
        yield _heartbeat(terminal)


def _bar(terminal: Terminal) -> Iterator[ShowRamp]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"), TextColumn("ETA"), TimeRemainingColumn())
    with Progress(*columns, console=terminal.err, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(step: int, num_steps: int, lr: float, loss: float, best_loss: float) -> None:
            bar.update(task, completed=step, total=num_steps, description=_position(lr, loss, best_loss))

        yield show


def _heartbeat(terminal: Terminal) -> ShowRamp:
    begin = last = time.monotonic()

    def show(step: int, num_steps: int, lr: float, loss: float, best_loss: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= HEARTBEAT_S:
            last = now
            rest = format_duration((now - begin) / step * (num_steps - step))
            terminal.note(f"step {step} of {num_steps}  {_position(lr, loss, best_loss)}  ETA {rest}")

    return show


def _position(lr: float, loss: float, best_loss: float) -> str:
    return f"lr {format_lr(lr)}  loss {loss:.4g}  best {best_loss:.4g}"


class _PipedConsole(Console):
    def on_broken_pipe(self) -> None:
        """rich itself would end the process, with exit code 1."""
        raise


def _console(file: TextIO, color: Color) -> Console:
    width = None if file.isatty() else int(os.environ.get("COLUMNS", PIPED_WIDTH))
    colored = _wants_color(file, color)
    return _PipedConsole(
        file=file,
        width=width,
        force_terminal=colored or None,
        color_system=("auto" if file.isatty() else "standard") if colored else None,
        legacy_windows=False,
    )


def _wants_color(file: TextIO, color: Color) -> bool:
    if color != "auto":
        return color == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return file.isatty() and os.environ.get("TERM") != "dumb"


def _copy_of(descriptor: int) -> TextIO:
    """A text file on a copy of the descriptor; where that is closed (`>&-`), one that swallows what is written."""
    try:
        return os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="backslashreplace")
    except OSError:
        return _nowhere()


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (ValueError, OSError, AttributeError):
            continue
