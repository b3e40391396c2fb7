"""What a run directory holds beside `run.json`: plots and the CSVs they show, all made from the stored result alone."""

from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from lrtool.report.diagnosis.cure_plots import cure_figures
from lrtool.report.diagnosis.cure_tables import cure_csvs
from lrtool.report.diagnosis.plots import budget_csv, draw_budget
from lrtool.report.figures import figure_bytes
from lrtool.report.gate.compare_plots import draw_comparison
from lrtool.report.range_test.files import range_test_figures, range_test_tables
from lrtool.report.replay.plots import draw_segments, draw_timeline
from lrtool.report.sweep.plots import draw_peaks, draw_steps
from lrtool.results import Comparison, Diagnosis, Doctor, RangeTest, Replay, Result, Run
from lrtool.results.run_dir import write_file
from lrtool.results.trial_dir import read_series, trials_csv

MAIN_PLOT = {
    "range-test": "curve.png",
    "replay": "timeline.png",
    "mem-sweep": "steps.png",
    "diagnose": "budget.png",
    "compare": "compare.png",
}
"""The plot to look at first, by command."""


def write_files(run_dir: Path, run: Run[Result]) -> None:
    """Write, or write again, the plots and tables of `run`. Raises UnavailableError."""
    for name, text in tables_of(run.result).items():
        write_file(run_dir / f"{name}.csv", text)
    for name, figure in figures_of(run_dir, run.result).items():
        write_file(run_dir / f"{name}.png", figure_bytes(figure, "png"))
        write_file(run_dir / f"{name}.svg", figure_bytes(figure, "svg"))


def figures_of(run_dir: Path, result: Result) -> dict[str, Figure]:
    """The plots of a result by name, drawn afresh. Raises UsageError where the steps of a trial cannot be read."""
    if isinstance(result, RangeTest):
        return range_test_figures(result)
    if isinstance(result, Replay):
        return {"timeline": draw_timeline(result), "segments": draw_segments(result)}
    if isinstance(result, Diagnosis):
        return {"budget": draw_budget(result), **cure_figures(result.cures, result.max_batch)}
    if isinstance(result, Comparison):
        return {"compare": draw_comparison(result)}
    if isinstance(result, Doctor):
        return {}
    read = {trial.number: read_series(run_dir, trial.number) for trial in result.trials}
    series = {number: steps for number, steps in read.items() if steps is not None}
    return {"steps": draw_steps(result, series), "peaks": draw_peaks(result)}


def tables_of(result: Result) -> dict[str, str]:
    """The CSVs of a result by name."""
    if isinstance(result, RangeTest):
        return range_test_tables(result)
    if isinstance(result, Replay):
        return {"rows": rows_csv(result), "timeline": timeline_csv(result)}
    if isinstance(result, Diagnosis):
        return {"budget": budget_csv(result), **cure_csvs(result.cures, result.max_batch)}
    if isinstance(result, Comparison):
        return {"figures": figures_csv(result)}
    if isinstance(result, Doctor):
        return {}
    return {"trials": trials_csv(result.trials)}


def rows_csv(result: Replay) -> str:
    """A replay's table in full precision, one line a row; bytes as integers."""
    import pandas as pd

    nested = ("death", "least_capacity", "timeline", "segments")
    return pd.DataFrame([{k: v for k, v in asdict(row).items() if k not in nested} for row in result.rows]).to_csv(
        index=False
    )


def figures_csv(result: Comparison) -> str:
    """A comparison's figures in full precision, one line for each condition, metric and run."""
    import pandas as pd

    rows = [
        {"case": figure.case, "metric": figure.metric, "run": result.runs[index].name, "value": value,
         "difference": figure.differences[index], "noise": figure.noise}
        for figure in result.figures
        for index, value in enumerate(figure.values)
    ]  # fmt: skip
    return pd.DataFrame(rows).to_csv(index=False)


def timeline_csv(result: Replay) -> str:
    """The sampled course of memory of every row that has one, in bytes."""
    import pandas as pd

    tables = [
        pd.DataFrame(
            {
                "row": number,
                "request": row.timeline.request,
                "allocated_bytes": row.timeline.allocated_bytes,
                "active_bytes": row.timeline.active_bytes,
                "reserved_bytes": row.timeline.reserved_bytes,
            }
        )
        for number, row in enumerate(result.rows, 1)
        if row.timeline is not None
    ]
    return pd.concat(tables).to_csv(index=False)
