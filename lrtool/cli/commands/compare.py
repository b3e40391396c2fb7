"""`lrtool compare`: stored runs beside each other; without torch."""

from pathlib import Path
from typing import Annotated

import typer

from lrtool.cli.invocation import Invocation, reads_settings
from lrtool.errors import UsageError


@reads_settings()
def command(
    asked: Invocation,
    runs: Annotated[
        list[str], typer.Argument(help="Runs of one command (directory, number, last); the first is the baseline.")
    ],
) -> None:
    """Lay the curves of runs over each other, and their figures beside each other with difference and noise.

    Examples: lrtool compare 3 7 | lrtool compare runs/0003-mem-sweep runs/0007-mem-sweep last --json
    """
    from lrtool.cli.output import show, store
    from lrtool.gate.comparison import Subject, compare
    from lrtool.gate.curves import curves_of
    from lrtool.gate.summary import summarize
    from lrtool.results.stored.run_dir import open_run

    folder = Path(asked.settings().out)
    if len(runs) < 2:
        raise UsageError("one run alone cannot be compared", hint="name two runs or more, the baseline first")
    opened = [open_run(name, parent=folder) for name in runs]
    commands = [run.command for _, run in opened]
    if len(set(commands)) > 1:
        kinds = ", ".join(f"{run_dir} is of {kind}" for (run_dir, _), kind in zip(opened, commands, strict=True))
        raise UsageError("runs of different commands cannot be compared", hint=kinds)
    subjects = [Subject(name=str(run_dir), summary=summarize(run), result=run.result) for run_dir, run in opened]
    result = compare(subjects, curves_of(subjects, [run_dir for run_dir, _ in opened]))
    stored_in, run, unwritten = store(result, command="compare", folder=folder, settings={"runs": runs})
    show(asked.terminal, run, stored_in, as_json=asked.as_json)
    if unwritten is not None:
        raise unwritten
