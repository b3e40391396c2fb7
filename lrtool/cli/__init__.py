"""The command line: the Typer app, and `main`, where every error becomes two lines on stderr and an exit code."""

import os
import re
import sys
import traceback
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
from lrtool.errors import EXIT_DEFECT, EXIT_DONE, EXIT_INTERRUPTED, EXIT_USAGE, LrtoolError, UsageError
from lrtool.settings_file import check_environment
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
        words = options.with_value(given, "--confirm", values=CONFIRM)
        if app(words, prog_name="lrtool", standalone_mode=False) == EXIT_INTERRUPTED:  # typer's word for Ctrl-C
            raise KeyboardInterrupt
    except LrtoolError as error:
        _show_cause(terminal, error, given)
        terminal.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        terminal.error(UsageError("interrupted", hint="nothing had been measured yet"))
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_DONE
    except typer.TyperException as error:
        return _usage(terminal, error)
    except Exception as error:
        _show_cause(terminal, error, given)
        terminal.error(
            LrtoolError(
                f"lrtool itself failed: {type(error).__name__}: {error}",
                hint="this is a defect of lrtool; -vv shows where, please report it",
            )
        )
        return EXIT_DEFECT
    return EXIT_DONE


def run() -> None:
    """The console script. What the user's code prints on its way out still goes to stderr."""
    code = watched(main)
    try:
        sys.stdout.flush()
        os.dup2(2, 1)
    except (OSError, ValueError):
        code = code or EXIT_DONE
    skip_last_collection()
    sys.exit(code)


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
