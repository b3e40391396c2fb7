"""What every measuring command does with its result: store it in a run directory, and show it or print its JSON."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lrtool.cli.console import Terminal
from lrtool.errors import Interrupted, LrtoolError, UnavailableError
from lrtool.results import Check, Result, Run, document
from lrtool.results.stored.checked_json import json_text
from lrtool.results.stored.run_dir import create_run_dir, environment, write_run
from lrtool.results.stored.secrets import masked, masked_arguments


def store(
    result: Result, *, command: str, folder: Path, settings: Mapping[str, Any], run_dir: Path | None = None
) -> tuple[Path | None, Run[Result], LrtoolError | None]:
    """Store a result in `run_dir`, else in a new one below `folder`.

    A disk that is full, or Ctrl-C, must not cost the user the result: the error is handed back, and the directory is then
    None, unless the result itself was written and only a plot or a table was not.
    """
    run: Run[Result] = Run(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        arguments=masked_arguments(sys.argv[1:]),
        settings=masked(dict(settings)),
        environment=environment(),
        result=result,
    )
    try:
        run_dir = run_dir or create_run_dir(folder, command=command)
        write_run(run_dir, run)
    except UnavailableError as error:
        return None, run, error
    try:
        from lrtool.report.files import write_files  # here: what is measured is stored before plots need anything

        write_files(run_dir, run)
    except UnavailableError as error:
        return run_dir, run, error
    except KeyboardInterrupt:
        return run_dir, run, Interrupted("interrupted", hint=f"the result is stored: lrtool report {run_dir}")
    return run_dir, run, None


def show(
    terminal: Terminal, run: Run[Result], run_dir: Path | None, *, as_json: bool, page: Path | None = None
) -> None:
    """The result on stdout: as tables, or as one JSON document; `page` is its report page where one was written."""
    from lrtool.report.terminal import render

    if as_json:
        print_document(terminal, document(run, run_dir=str(run_dir) if run_dir else None))
    else:
        terminal.result(*render(run, run_dir=run_dir, page=page))


def show_checked(
    terminal: Terminal, run: Run[Result], run_dir: Path | None, *, as_json: bool, check: Check | None
) -> None:
    """The result on stdout, and what a check of it found where there was one."""
    from lrtool.report.gate.tables import check_lines
    from lrtool.report.terminal import render

    if check is None:
        show(terminal, run, run_dir, as_json=as_json)
    elif as_json:
        whole = document(run, run_dir=str(run_dir) if run_dir else None)
        print_document(terminal, {**whole, "check": asdict(check)})
    else:
        *parts, closing = render(run, run_dir=run_dir)
        terminal.result(*parts, *check_lines(check), "", closing)


def print_document(terminal: Terminal, whole: Mapping[str, Any]) -> None:
    """A document as JSON, and nothing else, on stdout."""
    terminal.result_text(json_text(whole) + "\n")
