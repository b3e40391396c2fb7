"""What a run directory holds beside `run.json`: plots and the CSVs they show, all made from the stored result alone."""

from pathlib import Path

from lrtool.report.figures import figure_bytes
from lrtool.report.reports import report_of
from lrtool.results import Result, Run
from lrtool.results.stored.run_dir import write_file
from lrtool.results.stored.texts import shown


def write_files(run_dir: Path, run: Run[Result]) -> None:
    """Write, or write again, the plots and tables of `run`. Raises UnavailableError."""
    report, result = report_of(run.result), shown(run.result)
    for name, text in report.csvs(run.result).items():
        write_file(run_dir / f"{name}.csv", text)
    for name, figure in report.plots(run_dir, result).items():
        write_file(run_dir / f"{name}.png", figure_bytes(figure, "png"))
        write_file(run_dir / f"{name}.svg", figure_bytes(figure, "svg"))
