"""Results as lines and tables for a terminal of 80 columns: the answer first, where it was written last."""

from pathlib import Path

from rich.console import RenderableType

from lrtool.report.diagnosis.tables import diagnosis_lines
from lrtool.report.doctor import doctor_lines
from lrtool.report.files import MAIN_PLOT
from lrtool.report.gate.compare_tables import comparison_lines
from lrtool.report.range_test.tables import _range_test
from lrtool.report.replay.tables import replay_lines
from lrtool.report.sweep.tables import sweep_lines
from lrtool.results import Comparison, Diagnosis, Doctor, RangeTest, Replay, Result, Run
from lrtool.results.run_dir import RUN_FILE


def render(run: Run[Result], *, run_dir: Path | None, page: Path | None = None) -> list[RenderableType]:
    """A run as it is shown in the terminal, in order; `run_dir` is None where nothing could be written, and `page` is
    its report page where that was.
    """
    closing = _closing(run_dir, MAIN_PLOT[run.command]) if page is None else f"Wrote {page}. Next: open it in a browser"
    return [*result_parts(run.result), "", closing]


def result_parts(result: Result) -> list[RenderableType]:
    """What is shown of a result, its answer first."""
    if isinstance(result, RangeTest):
        return _range_test(result)
    if isinstance(result, Replay):
        return replay_lines(result)
    if isinstance(result, Diagnosis):
        return diagnosis_lines(result)
    if isinstance(result, Doctor):
        return doctor_lines(result)
    if isinstance(result, Comparison):
        return comparison_lines(result)
    return sweep_lines(result)


def _closing(run_dir: Path | None, plot: str) -> str:
    if run_dir is None:
        return "Nothing was written."
    written = run_dir / plot
    if not written.exists() and (run_dir / RUN_FILE).exists():  # there was no room for it
        written = run_dir / RUN_FILE
    return f"Wrote {written}. Next: lrtool report {run_dir}"
