"""A replay's report: its plots, and the CSVs they show."""

from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from lrtool.report.parts import frame_csv
from lrtool.report.replay.page import replay_page
from lrtool.report.replay.plots import draw_segments, draw_timeline
from lrtool.report.replay.tables import replay_lines
from lrtool.report.report import Report
from lrtool.results import Replay

DESCRIPTIONS = {
    "timeline": "Memory over the allocator's requests, a panel for each replay with the same axes: reserved and active as "
    "lines, allocated as an area.",
    "segments": "The largest segments, a bar for each, divided into blocks in use, free ones, and free ones split off.",
}


def plots(_: Path, result: Replay) -> dict[str, Figure]:
    return {"timeline": draw_timeline(result), "segments": draw_segments(result)}


def csvs(result: Replay) -> dict[str, str]:
    return {"rows": rows_csv(result), "timeline": timeline_csv(result)}


def rows_csv(result: Replay) -> str:
    """A replay's table in full precision, one line a row; bytes as integers."""
    import pandas as pd

    nested = ("death", "least_capacity", "timeline", "segments")
    rows = [{k: v for k, v in asdict(row).items() if k not in nested} for row in result.rows]
    return frame_csv(pd.DataFrame(rows), index=False)


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
    return frame_csv(pd.concat(tables), index=False)


REPORT = Report(
    lines=replay_lines, page=replay_page, plots=plots, csvs=csvs, main_plot="timeline", descriptions=DESCRIPTIONS
)
