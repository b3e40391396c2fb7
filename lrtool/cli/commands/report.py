"""`lrtool report`: a stored run's table and plots again, without torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrtool.cli import options
from lrtool.cli.console import open_terminal
from lrtool.config import find_settings_file, resolve

if TYPE_CHECKING:
    from lrtool.results import Result, Run


def command(
    run: Annotated[
        str, typer.Argument(help="A run directory, its number below --out, or last.", show_default=True)
    ] = "last",
    html: Annotated[
        bool,
        typer.Option(
            "--html", help="Write report.html, one offline page, instead of the plots.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    out: options.Out = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.ColorChoice = "auto",
) -> None:
    """Print a run's table and draw its plots again, or write its page, from its run directory alone.

    Examples: lrtool report last | lrtool report 7 --html | lrtool report runs/0007-range-test --json
    """
    from lrtool.cli.output import show
    from lrtool.results.run_dir import open_run

    terminal = open_terminal(color=options.color(color), quiet=quiet, verbose=verbose)
    settings = resolve(find_settings_file(Path.cwd()), command="range_test", options={"out": out})
    run_dir, stored = open_run(run, parent=Path(settings.out))
    page = _write(run_dir, stored, html=html, as_json=as_json)
    show(terminal, stored, run_dir, as_json=as_json, page=page)


def _write(run_dir: Path, run: "Run[Result]", *, html: bool, as_json: bool) -> Path | None:
    """The page if it was asked for, else the plots and CSVs; nothing where only the document is."""
    if html:
        from lrtool.report.html.html import write_html

        return write_html(run_dir, run)
    if not as_json:
        from lrtool.report.files import write_files

        write_files(run_dir, run)
    return None
