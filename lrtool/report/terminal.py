"""Results as lines and tables for a terminal of 80 columns: the answer first, where it was written last."""

from pathlib import Path

from rich.console import RenderableType

from lrtool.report.reports import report_of
from lrtool.results import Result, Run
from lrtool.results.stored.run_dir import RUN_FILE
from lrtool.results.stored.texts import shown
from lrtool.units import one_line


def render(run: Run[Result], *, run_dir: Path | None, page: Path | None = None) -> list[RenderableType]:
    """A run as it is shown in the terminal, in order; `run_dir` is None where nothing could be written, and `page` is
    its report page where that was.
    """
    report, result = report_of(run.result), shown(run.result)
    closing = (
        _closing(run_dir, f"{report.main_plot}.png") if page is None else f"Wrote {page}. Next: open it in a browser"
    )
    return [*report.lines(result), "", one_line(closing)]


def _closing(run_dir: Path | None, plot: str) -> str:
    if run_dir is None:
        return "Nothing was written."
    written = run_dir / plot
    if not written.exists() and (run_dir / RUN_FILE).exists():  # there was no room for it
        written = run_dir / RUN_FILE
    return f"Wrote {written}. Next: lrtool report {run_dir}"
