"""`lrtool report`: a stored run's table and plots again, without torch."""

from pathlib import Path
from typing import Annotated

import typer

from lrtool.cli import options
from lrtool.cli.console import open_terminal
from lrtool.config import find_settings_file, resolve


def command(
    run: Annotated[
        str, typer.Argument(help="A run directory, its number below --out, or last.", show_default=True)
    ] = "last",
    out: options.Out = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.ColorChoice = "auto",
) -> None:
    """Print a run's table and draw its plots again, from its run directory alone.

    Examples: lrtool report last | lrtool report runs/0007-range-test --json
    """
    from lrtool.cli.output import show
    from lrtool.report.files import write_files
    from lrtool.store import open_run

    terminal = open_terminal(color=options.color(color), quiet=quiet, verbose=verbose)
    settings = resolve(find_settings_file(Path.cwd()), command="range_test", options={"out": out})
    run_dir, stored = open_run(run, parent=Path(settings.out))
    if not as_json:
        write_files(run_dir, stored)
    show(terminal, stored, run_dir, as_json=as_json)
