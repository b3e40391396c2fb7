"""A comparison's report: the curves over each other, and every figure as CSV."""

from pathlib import Path

from matplotlib.figure import Figure

from lrtool.report.gate.compare_plots import draw_comparison
from lrtool.report.gate.compare_tables import comparison_lines
from lrtool.report.gate.page import comparison_page
from lrtool.report.parts import frame_csv
from lrtool.report.report import Report
from lrtool.results import Comparison

DESCRIPTIONS = {
    "compare": "The curves of the runs that are compared, over each other, a panel for each condition: the first run as a "
    "broad band, the others as dashed lines.",
}


def plots(_: Path, result: Comparison) -> dict[str, Figure]:
    return {"compare": draw_comparison(result)}


def csvs(result: Comparison) -> dict[str, str]:
    return {"figures": figures_csv(result)}


def figures_csv(result: Comparison) -> str:
    """A comparison's figures in full precision, one line for each condition, metric and run."""
    import pandas as pd

    rows = [
        {"case": figure.case, "metric": figure.metric, "run": result.runs[index].name, "value": value,
         "difference": figure.differences[index], "noise": figure.noise}
        for figure in result.figures
        for index, value in enumerate(figure.values)
    ]  # fmt: skip
    return frame_csv(pd.DataFrame(rows), index=False)


REPORT = Report(
    lines=comparison_lines, page=comparison_page, plots=plots, csvs=csvs, main_plot="compare", descriptions=DESCRIPTIONS
)
