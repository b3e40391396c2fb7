"""One result of what the ranks of a trial say: of the rank that ended it, else of the one that used the most."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lrtool.results import Category, RankMemory, Recorder, compare_ranks
from lrtool.results.stored.trial_dir import LOG_FILE, RESULT_FILE, TRIAL_FILE, checked
from lrtool.sweep.executors.executor import Ended
from lrtool.sweep.executors.rank_executor import ENDED_FILE, Part
from lrtool.sweep.executors.ranks import device_type
from lrtool.sweep.reports import SWEEP_TRIAL, TrialFile, TrialReport

BACKENDS: dict[Recorder, str] = {"cuda": "nccl", "cpu": "gloo", "predicted": "a simulated group"}
_SEVERITY = ("oom", "killed", "failed", "timeout", "interrupted")
_WANT_OF_ANOTHER = ("Connection closed", "Connection reset", "gloo", "NCCL", "did not come")


def trial_of_ranks(folder: Path, parts: Sequence[Part]) -> None:
    """Write a sweep's trial: files and report of one rank, and the memory of all."""
    given = SWEEP_TRIAL.read_given(folder)
    reports = {part.rank: _report(folder, part, given) for part in parts}
    failed = [rank for rank, report in reports.items() if report.trial.status != "ok"]
    told = min(failed, key=lambda rank: _blame(reports[rank]), default=None)
    rank = max(reports, key=lambda rank: reports[rank].trial.max_memory_reserved_bytes or 0) if told is None else told
    keep_files(folder, parts[rank])
    report, trial = reports[rank], reports[rank].trial
    ranks = compare_ranks(
        tuple(_memory(rank, report) for rank, report in sorted(reports.items())),
        backend=BACKENDS[trial.recorder],
        wrapping="ddp",
        bucket_bytes=trial.most_by_category.get(Category.GRADIENT_BUCKET, 0),
        failed_rank=told,
    )
    message = trial.message if told is None else f"rank {told}: {trial.message or trial.status}"
    SWEEP_TRIAL.write(folder, replace(report, trial=replace(trial, ranks=ranks, message=message)))


def _report(folder: Path, part: Part, given: TrialFile) -> TrialReport:
    """What a rank's process wrote, else what its end says."""
    if RESULT_FILE in part.files:
        return SWEEP_TRIAL.parsed(part.files[RESULT_FILE], source=folder / RESULT_FILE)
    ended = checked(part.files[ENDED_FILE], Ended, source=folder / ENDED_FILE)
    log = part.files.get(LOG_FILE, b"").decode(errors="replace").strip()
    return SWEEP_TRIAL.unreported(given, ended, log.rpartition("\n")[2])


def _blame(report: TrialReport) -> tuple[bool, int]:
    """The rank that failed by itself comes first: others fail for want of it."""
    message, status = report.trial.message or "", report.trial.status
    is_consequence = any(words in message for words in _WANT_OF_ANOTHER)
    return is_consequence, _SEVERITY.index(status) if status in _SEVERITY else len(_SEVERITY)


def keep_files(folder: Path, part: Part) -> None:
    """Write what a rank left into the trial's folder, but for what tells how its process ended."""
    for name, content in part.files.items():
        if name not in (ENDED_FILE, TRIAL_FILE):
            (folder / name).write_bytes(content)


def _memory(rank: int, report: TrialReport) -> RankMemory:
    trial = report.trial
    return RankMemory(
        rank=rank,
        device=device_type(trial.recorder),
        peak_allocated_bytes=trial.max_memory_allocated_bytes,
        peak_reserved_bytes=trial.max_memory_reserved_bytes,
        peak_resident_bytes=None,
    )
