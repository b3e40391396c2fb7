"""The results that can be shown, each with its report."""

from typing import Any

from lrtool.report.diagnosis import report as diagnosis
from lrtool.report.gate import report as comparison
from lrtool.report.range_test import report as range_test
from lrtool.report.replay import report as replay
from lrtool.report.report import Report
from lrtool.report.sweep import report as sweep
from lrtool.results import Comparison, Diagnosis, MemSweep, RangeTest, Replay, Result

REPORTS: dict[type[Result], Report[Any]] = {
    RangeTest: range_test.REPORT,
    MemSweep: sweep.REPORT,
    Replay: replay.REPORT,
    Diagnosis: diagnosis.REPORT,
    Comparison: comparison.REPORT,
}


def report_of(result: Result) -> Report[Any]:
    return REPORTS[type(result)]
