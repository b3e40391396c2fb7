"""`lrtool report`: a stored run's table and plots again, without torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrtool.cli import options
from lrtool.cli.invocation import Invocation, reads_settings

if TYPE_CHECKING:
    from lrtool.results import Result, Run


@reads_settings()
def command(
    asked: Invocation,
    run: options.RunName = "last",
    *,
    html: Annotated[
        bool,
        typer.Option(
            "--html", help="Write report.html, one offline page, instead of the plots.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
) -> None:
    """Print a run's table and draw its plots again, or write its page, from its run directory alone.

    Examples: lrtool report last | lrtool report 7 --html | lrtool report runs/0007-range-test --json
    """
    from lrtool.cli.output import show
    from lrtool.results.stored.run_dir import open_run

    run_dir, stored = open_run(run, parent=Path(asked.settings().out))
    page = _write(run_dir, stored, html=html, as_json=asked.as_json)
    show(asked.terminal, stored, run_dir, as_json=asked.as_json, page=page)


def _write(run_dir: Path, run: "Run[Result]", *, html: bool, as_json: bool) -> Path | None:
    """The page if it was asked for, else the plots and CSVs; nothing where only the document is."""
    if html:
        from lrtool.report.html.html import write_html

        return write_html(run_dir, run)
    if not as_json:
        from lrtool.report.files import write_files

        write_files(run_dir, run)
    return None
