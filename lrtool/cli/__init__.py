"""The command line: the Typer app, and `main`, where every error becomes two lines on stderr and an exit code."""

import errno
import os
import re
import signal
import sys
import traceback
from contextlib import suppress
from typing import Annotated, get_args

import typer

from lrtool.cli import options
from lrtool.cli.commands import (
    baseline,
    cards,
    check,
    compare,
    diagnose,
    doctor,
    init,
    mem_sweep,
    range_test,
    replay,
    report,
)
from lrtool.cli.console import Terminal, open_terminal
from lrtool.cli.watched import watched
from lrtool.config import Confirm
from lrtool.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    Defect,
    Interrupted,
    LrtoolError,
    UnavailableError,
    UsageError,
)
from lrtool.settings_file import check_environment
from lrtool.sweep.executors.own_template import claim_process
from lrtool.sweep.executors.process import skip_last_collection

app = typer.Typer(
    name="lrtool",
    help="LR range test and GPU-memory profiler for PyTorch.",
    epilog="lrtool init  ·  lrtool range-test model.py  ·  lrtool mem-sweep model.py",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("range-test", rich_help_panel="Measure")(range_test.command)
app.command("mem-sweep", rich_help_panel="Measure")(mem_sweep.command)
app.command("diagnose", rich_help_panel="Measure")(diagnose.command)
app.command("replay", rich_help_panel="Measure")(replay.command)
app.command("report", rich_help_panel="Read")(report.command)
app.command("compare", rich_help_panel="Read")(compare.command)
app.command("check", rich_help_panel="Gate")(check.command)
app.command("baseline", rich_help_panel="Gate")(baseline.command)
app.command("doctor", rich_help_panel="Check")(doctor.command)
app.command("cards", rich_help_panel="Check")(cards.command)
app.command("init", rich_help_panel="Set up")(init.command)

MEASURING = ("range-test", "lr-find", "mem-sweep", "diagnose", "replay", "doctor")
ALIASES = {"lr-find": "range-test", "lr_find": "range-test"}
"""What other tools call a command."""
CONFIRM = ("cyclic", *(schedule for schedule in get_args(Confirm) if schedule != "cyclic"))
"""The values that --confirm takes; it may be given without one, and then has the first."""

QUICK_START = """lrtool answers with measurements: which learning-rate range, how much memory, and why it ran out.

  lrtool init                   write a model.py to start from, and its settings
  lrtool range-test model.py    which learning-rate range to train it with
  lrtool mem-sweep model.py     how much memory that uses, and what makes it grow

lrtool --help lists all commands, and lrtool COMMAND --help what they can do."""


@app.callback(invoke_without_command=True)
def entry(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"lrtool {version_of('lrtool')}")
    elif context.invoked_subcommand is None:
        typer.echo(QUICK_START)
    check_environment(options.VARIABLES)


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code; nothing it meets comes out as a traceback of lrtool's."""
    given = sys.argv[1:] if arguments is None else arguments
    terminal = open_terminal()
    try:
        words = options.with_value(_named(given), "--confirm", values=CONFIRM)
        if app(words, prog_name="lrtool", standalone_mode=False) == EXIT_INTERRUPTED:  # typer's word for Ctrl-C
            raise KeyboardInterrupt
    except LrtoolError as error:
        _show_cause(terminal, error, given)
        terminal.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        terminal.error(Interrupted("interrupted", hint=_after_interrupt(given)))
        return EXIT_INTERRUPTED
    except typer.TyperException as error:
        return _usage(terminal, error)
    except BaseException as error:
        if isinstance(error, BrokenPipeError) or isinstance(
            error.__context__, BrokenPipeError
        ):  # typer's exit code is 1
            return EXIT_DONE
        _show_cause(terminal, error, given)
        failure = _unexpected(error)
        terminal.error(failure)
        return failure.exit_code
    return EXIT_DONE


def _named(given: list[str]) -> list[str]:
    """The words of a command line with the command's own name."""
    return [ALIASES.get(given[0], given[0]), *given[1:]] if given else given


def _has_no_room(error: BaseException) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EIO)


_OF_A_NAME = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)
"""What the system says of a path as soon as somebody looks whether there is a file."""


def _unexpected(error: BaseException) -> LrtoolError:
    if isinstance(error, OSError) and error.filename is not None and error.errno in _OF_A_NAME:
        reason = os.strerror(error.errno)
        message = f"{reason[:1].lower()}{reason[1:]}: {os.fsdecode(error.filename)}"  # which may be long, and is cut
        return UsageError(message, hint="name another file or folder, or check its permissions")
    if isinstance(error, OSError) and _has_no_room(error):
        return UnavailableError(f"stdout cannot be written: {error.strerror}", hint="make room, or write elsewhere")
    return Defect(f"lrtool itself failed: {type(error).__name__}: {error}")


def _after_interrupt(given: list[str]) -> str:
    """What a command leaves that was interrupted before it had a word of its own for that."""
    if any(word in given for word in MEASURING) and "--resume" not in given:
        return "nothing had been measured yet"
    return "run it again; nothing that was stored is lost"


def run_to_end() -> int:
    """Run the command line of this process; the code that it ends with. What the user's code prints later goes to stderr."""
    claim_process()
    code = watched(main)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the answer stands
    try:
        sys.stdout.flush()
        os.dup2(2, 1)
    except (OSError, ValueError) as error:  # ValueError: the user's code has closed it
        _forget_stdout()
        if _has_no_room(error):
            code = code or EXIT_UNAVAILABLE
    skip_last_collection()
    return code


def _forget_stdout() -> None:
    """Let Python not try again, as it ends, to write what nobody takes."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _usage(terminal: Terminal, error: typer.TyperException) -> int:
    """typer's own complaint in lrtool's two lines."""
    message = getattr(error, "format_message", lambda: str(error))().rstrip(".")
    sentence, _, rest = message.partition(" Did you mean ")
    sentence, _, options = sentence.partition(" (Possible options: ")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "lrtool"
    hint = f"see `{path} --help`"
    if rest or options:
        hint = f"did you mean {rest or options.rstrip(')')}? {hint}".replace("??", "?")
    terminal.error(UsageError(f"{sentence[:1].lower()}{sentence[1:]}".rstrip(".,"), hint=hint))
    return EXIT_USAGE


def _show_cause(terminal: Terminal, error: BaseException, arguments: list[str]) -> None:
    levels = [each.count("v") for each in arguments if re.fullmatch("-v+", each)]
    if sum(levels) + arguments.count("--verbose") > 1:
        terminal.err.print("".join(traceback.format_exception(error)), markup=False, highlight=False, soft_wrap=True)
