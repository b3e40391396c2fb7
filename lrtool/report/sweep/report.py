"""A sweep's report: its plots, drawn with the steps that the trials stored, and the trials as CSV."""

from pathlib import Path

from matplotlib.figure import Figure

from lrtool.report.report import Report
from lrtool.report.sweep.lr_plot import draw_lrs
from lrtool.report.sweep.page import sweep_page
from lrtool.report.sweep.plots import draw_peaks, draw_steps
from lrtool.report.sweep.tables import sweep_lines
from lrtool.results import MemSweep
from lrtool.results.stored.trial_dir import read_lrs, read_series, trials_csv

DESCRIPTIONS = {
    "steps": "Memory over the training steps, a panel for each trial with the same axes: reserved as a thick line, peak "
    "allocated as a thin one, allocated at the step's end as an area.",
    "peaks": "Peak reserved (squares) and peak allocated memory (circles) by step size, and fragmentation below.",
    "lrs": "The learning rate over the training steps, a panel for each trial, a line for each parameter group.",
}


def plots(run_dir: Path, result: MemSweep) -> dict[str, Figure]:
    """Raises UsageError where the steps or the LRs of a trial cannot be read."""
    read = {trial.number: read_series(run_dir, trial.number) for trial in result.trials}
    series = {number: steps for number, steps in read.items() if steps is not None}
    lrs = {trial.number: read_lrs(run_dir, trial.number) for trial in result.trials}
    figures = {"steps": draw_steps(result, series), "peaks": draw_peaks(result)}
    return {**figures, "lrs": draw_lrs(result, lrs)} if any(lrs.values()) else figures


def csvs(result: MemSweep) -> dict[str, str]:
    return {"trials": trials_csv(result.trials)}


REPORT = Report(
    lines=sweep_lines, page=sweep_page, plots=plots, csvs=csvs, main_plot="steps", descriptions=DESCRIPTIONS
)
