"""A diagnosis's report: where the bytes are, and what was tried against them."""

from pathlib import Path

from matplotlib.figure import Figure

from lrtool.report.diagnosis.cure_plots import cure_figures
from lrtool.report.diagnosis.cure_tables import cure_csvs
from lrtool.report.diagnosis.page import diagnosis_page
from lrtool.report.diagnosis.plots import budget_csv, draw_budget
from lrtool.report.diagnosis.tables import diagnosis_lines
from lrtool.report.report import Report
from lrtool.results import Diagnosis

DESCRIPTIONS = {
    "cures": "Peak reserved memory of each cure over the time of a step, with the best front as a line; on the right those "
    "whose time is not known.",
    "batches": "Peak reserved memory over the batch size: circles fit, crosses do not.",
}


def plots(_: Path, result: Diagnosis) -> dict[str, Figure]:
    return {"budget": draw_budget(result), **cure_figures(result.cures, result.max_batch)}


def csvs(result: Diagnosis) -> dict[str, str]:
    return {"budget": budget_csv(result), **cure_csvs(result.cures, result.max_batch)}


REPORT = Report(
    lines=diagnosis_lines, page=diagnosis_page, plots=plots, csvs=csvs, main_plot="budget", descriptions=DESCRIPTIONS
)
