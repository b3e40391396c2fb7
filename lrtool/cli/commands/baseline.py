"""`lrtool baseline`: a stored run condensed to one small file, meant to be committed; without torch."""

from pathlib import Path
from typing import Annotated

from lrtool.cli import options
from lrtool.cli.invocation import Invocation, reads_settings
from lrtool.cli.options import option
from lrtool.units import format_bytes, one_line

BASELINE_FILE = "memory-baseline.json"


@reads_settings()
def command(
    asked: Invocation,
    run: options.RunName = "last",
    *,
    output: Annotated[
        Path, option("--output", "-o", help="The file to write.", panel="Baseline", default=BASELINE_FILE)
    ] = Path(BASELINE_FILE),
    force: options.Force = False,
) -> None:
    """Write what a run measured to one small file, for `lrtool check --baseline` to compare later runs with.

    The file holds the figures of each condition, what the peak consists of, and the GPU, torch, recorder and allocator
    settings without which they mean nothing. Commit it.

    Examples: lrtool baseline last -o memory-baseline.json | lrtool baseline 7
    """
    from lrtool.cli.asked_file import asked_file
    from lrtool.gate.baseline_file import baseline_json, is_baseline
    from lrtool.gate.summary import summarize
    from lrtool.report.gate.tables import baseline_lines
    from lrtool.results.stored.run_dir import open_run

    terminal = asked.terminal
    file = asked_file(output, option="--output", force=force, is_ours=is_baseline)
    run_dir, stored = open_run(run, parent=Path(asked.settings().out))
    summary = summarize(stored)
    text = baseline_json(summary)
    file.write(text)
    if asked.as_json:
        terminal.result_text(text)
        return
    size = format_bytes(len(text.encode()))
    closing = f"Wrote {output} ({size}) from {run_dir}. Next: commit it, and lrtool check --baseline {output}"
    terminal.result(*baseline_lines(summary), "", one_line(closing))
