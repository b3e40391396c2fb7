"""What every measuring command does with its result: store it in a run directory, and show it or print its JSON."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lrtool.cli.console import Terminal
from lrtool.errors import UnavailableError
from lrtool.results import Result, Run, document
from lrtool.store import create_run_dir, environment, write_run


def store(
    result: Result, *, command: str, folder: Path, settings: Mapping[str, Any], run_dir: Path | None = None
) -> tuple[Path | None, Run[Result], UnavailableError | None]:
    """Store a result in `run_dir`, else in a new one below `folder`.

    A disk that is full must not cost the user the result: the error is handed back, and the directory is then None.
    """
    from lrtool.report.files import write_files

    run: Run[Result] = Run(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        arguments=tuple(sys.argv[1:]),
        settings=dict(settings),
        environment=environment(),
        result=result,
    )
    try:
        run_dir = run_dir or create_run_dir(folder, command=command)
        write_run(run_dir, run)
        write_files(run_dir, run)
    except UnavailableError as error:
        return None, run, error
    return run_dir, run, None


def show(
    terminal: Terminal, run: Run[Result], run_dir: Path | None, *, as_json: bool, page: Path | None = None
) -> None:
    """The result on stdout: as tables, or as one JSON document; `page` is its report page where one was written."""
    from lrtool.report.tables import render

    if as_json:
        terminal.out.file.write(json.dumps(document(run, run_dir=str(run_dir) if run_dir else None)) + "\n")
        terminal.out.file.flush()
    else:
        terminal.result(*render(run, run_dir=run_dir, page=page))
