"""What a run directory holds beside `run.json`: plots and the CSVs they show, all made from the stored result alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from lrtool.report.batch_scaling import draw_scaling
from lrtool.report.group_tests import draw_groups
from lrtool.report.plots import draw_curve, figure_bytes
from lrtool.report.replay_plots import draw_segments, draw_timeline
from lrtool.report.sweep_plots import draw_peaks, draw_steps
from lrtool.results import BatchSizeTest, MemSweep, RangeTest, Replay, Result, RulePick, Run
from lrtool.series import read_series
from lrtool.store import write_file
from lrtool.trial_store import trials_csv

MAIN_PLOT = {"range-test": "curve.png", "replay": "timeline.png", "mem-sweep": "steps.png"}
"""The plot to look at first, by command."""


def write_files(run_dir: Path, run: Run[Result]) -> None:
    """Write, or write again, the plots and tables of `run`. Raises UnavailableError."""
    result = run.result
    if isinstance(result, RangeTest):
        _write(run_dir, _range_test_figures(result), _range_test_tables(result))
    elif isinstance(result, Replay):
        figures = {"timeline": draw_timeline(result), "segments": draw_segments(result)}
        _write(run_dir, figures, {"rows": rows_csv(result), "timeline": timeline_csv(result)})
    elif isinstance(result, MemSweep):
        read = {trial.number: read_series(run_dir, trial.number) for trial in result.trials}
        series = {number: steps for number, steps in read.items() if steps is not None}
        figures = {"steps": draw_steps(result, series), "peaks": draw_peaks(result)}
        _write(run_dir, figures, {"trials": trials_csv(result.trials)})


def _range_test_figures(result: RangeTest) -> dict[str, Figure]:
    figures = {"curve": draw_curve(result)}
    if result.group_tests:
        figures["groups"] = draw_groups(result)
    if result.batch_scaling is not None and result.batch_scaling.tests:
        figures["scaling"] = draw_scaling(result.batch_scaling)
    return figures


def _range_test_tables(result: RangeTest) -> dict[str, str]:
    tables = {"curve": curve_csv(result)}
    if result.group_tests:
        tables["groups"] = groups_csv(result)
    if result.batch_scaling is not None:
        tables["scaling"] = _records_csv(result.batch_scaling.tests)
    if result.rules:
        tables["rules"] = _records_csv(result.rules)
    return tables


def _write(run_dir: Path, figures: Mapping[str, Figure], tables: Mapping[str, str]) -> None:
    for name, text in tables.items():
        write_file(run_dir / f"{name}.csv", text)
    for name, figure in figures.items():
        write_file(run_dir / f"{name}.png", figure_bytes(figure, "png"))
        write_file(run_dir / f"{name}.svg", figure_bytes(figure, "svg"))


def curve_csv(result: RangeTest) -> str:
    """The curve, one row a step, losses in full precision; with repeats, a column of raw losses for each."""
    import pandas as pd

    columns = {"lr": result.curve.lr, "loss": result.curve.loss, "smoothed_loss": result.curve.smoothed_loss}
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(result.curve.lr) + 1, name="step"))
    for number, repeat in enumerate(result.repeats, 1):
        table = table.join(
            pd.Series(repeat.loss, index=pd.RangeIndex(1, len(repeat.loss) + 1), name=f"loss_{number}"), how="outer"
        )
    return table.to_csv(index_label="step")


def groups_csv(result: RangeTest) -> str:
    """The curve of each group alone, one row a step."""
    import pandas as pd

    tables = [pd.DataFrame({"group": number, **asdict(test.curve)}) for number, test in enumerate(result.group_tests)]
    return pd.concat(tables).to_csv(index=False)


def _records_csv(records: Sequence[BatchSizeTest | RulePick]) -> str:
    """A line for each record, a column for each of its fields."""
    import pandas as pd

    return pd.DataFrame([asdict(record) for record in records]).to_csv(index=False)


def rows_csv(result: Replay) -> str:
    """A replay's table in full precision, one line a row; bytes as integers."""
    import pandas as pd

    nested = ("death", "least_capacity", "timeline", "segments")
    return pd.DataFrame([{k: v for k, v in asdict(row).items() if k not in nested} for row in result.rows]).to_csv(
        index=False
    )


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
