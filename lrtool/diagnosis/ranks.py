"""The diagnosis of a run on several ranks: that of the rank which failed, else of the one that uses the most memory."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lrtool.diagnosis.reports import DIAGNOSIS, DiagnosisReport
from lrtool.results import RankMemory, compare_ranks
from lrtool.results.stored.trial_dir import RESULT_FILE
from lrtool.sweep.executors.rank_executor import Part
from lrtool.sweep.executors.ranks import device_type
from lrtool.sweep.rank_results import BACKENDS, keep_files


def diagnosis_of_ranks(folder: Path, parts: Sequence[Part]) -> None:
    """Write a diagnosis: that of one rank, and the peaks of all; nothing where a process left no report."""
    setup = DIAGNOSIS.read_given(folder)
    if any(RESULT_FILE not in part.files for part in parts):
        return
    reports = {part.rank: _diagnosis(folder, part) for part in parts}
    failed = [rank for rank, report in reports.items() if report.figures is None]
    rank = failed[0] if failed else max(reports, key=lambda rank: _peak(reports[rank]) or 0)
    keep_files(folder, parts[rank])
    report = reports[rank]
    if failed:
        report = replace(report, message=f"rank {rank}: {report.message}")
    memory = tuple(
        RankMemory(
            rank=rank,
            device=device_type(setup.recorder),
            peak_allocated_bytes=each.figures.peak_allocated_bytes if each.figures else None,
            peak_reserved_bytes=_peak(each),
            peak_resident_bytes=None,
        )
        for rank, each in sorted(reports.items())
    )
    ranks = compare_ranks(memory, backend=BACKENDS[setup.recorder], wrapping="ddp", bucket_bytes=_buckets(report))
    DIAGNOSIS.write(folder, replace(report, ranks=ranks))


def _diagnosis(folder: Path, part: Part) -> DiagnosisReport:
    return DIAGNOSIS.parsed(part.files[RESULT_FILE], source=folder / RESULT_FILE)


def _peak(report: DiagnosisReport) -> int | None:
    return report.figures.peak_reserved_bytes if report.figures else None


def _buckets(report: DiagnosisReport) -> int:
    budget = report.figures.budget if report.figures else None
    return sum(line.num_bytes for line in budget.lines if line.name == "gradient buckets") if budget else 0
