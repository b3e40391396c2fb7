"""`lrtool baseline`: a stored run condensed to one small file, meant to be committed; without torch."""

from pathlib import Path
from typing import Annotated

import typer

from lrtool.cli import options
from lrtool.cli.console import open_terminal
from lrtool.cli.options import option
from lrtool.config import find_settings_file, resolve
from lrtool.units import format_bytes

PANEL = "Baseline"
BASELINE_FILE = "memory-baseline.json"


def command(
    run: Annotated[
        str, typer.Argument(help="A run directory, its number below --out, or last.", show_default=True)
    ] = "last",
    output: Annotated[
        Path | None, option("--output", "-o", help="The file to write.", panel=PANEL, default=BASELINE_FILE)
    ] = None,
    out: options.Out = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.ColorChoice = "auto",
) -> None:
    """Write what a run measured to one small file, for `lrtool check --baseline` to compare later runs with.

    The file holds the figures of each condition, what the peak consists of, and the GPU, torch, recorder and allocator
    settings without which they mean nothing. Commit it.

    Examples: lrtool baseline last -o memory-baseline.json | lrtool baseline 7
    """
    from lrtool.gate.baseline_file import baseline_json, write_baseline
    from lrtool.gate.summary import summarize
    from lrtool.report.gate.tables import baseline_lines
    from lrtool.results.run_dir import open_run

    terminal = open_terminal(color=options.color(color), quiet=quiet, verbose=verbose)
    settings = resolve(find_settings_file(Path.cwd()), command="budget", options={"out": out})
    run_dir, stored = open_run(run, parent=Path(settings.out))
    summary = summarize(stored)
    file = output or Path(BASELINE_FILE)
    write_baseline(file, summary)
    if as_json:
        terminal.out.file.write(baseline_json(summary))
        terminal.out.file.flush()
        return
    size = format_bytes(file.stat().st_size)
    closing = f"Wrote {file} ({size}) from {run_dir}. Next: commit it, and lrtool check --baseline {file}"
    terminal.result(*baseline_lines(summary), "", closing)
