"""The largest batch that fits: found by prediction, and on a GPU confirmed by running, each try in a process of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lrtool.diagnosis.cure_trials.batch_search import Attempt, search_largest
from lrtool.diagnosis.cure_trials.reports import (
    CURE_TRIAL,
    MAX_BATCH_SEARCH,
    CureSetup,
    CureTrial,
    CureTrialFile,
    MaxBatchReport,
    job_of,
)
from lrtool.errors import UnavailableError, WorkloadError
from lrtool.results import BatchTry, MaxBatch, is_measured
from lrtool.sweep.executors.executor import Executor, run_one

RESOLUTION = 1 / 32
"""How closely the GPU's largest batch is found: each try there is a run."""
OnTry = Callable[[BatchTry], None]


def find_max_batch(setup: CureSetup, folder: Path, executor: Executor, *, on_try: OnTry) -> MaxBatch:
    """Search the largest batch for `setup.capacity_bytes`, which must be known; files are kept in `folder`.

    On a GPU the search begins where the prediction ends. A try that runs out of memory, crashes or is killed does not fit.
    Raises WorkloadError where nothing can be run.
    """
    if setup.capacity_bytes is None:
        raise UnavailableError("the largest batch needs a capacity", hint="give --capacity, such as 24GiB or a card")
    can_confirm = is_measured(setup.recorder)
    predicted = _predict(replace(setup, recorder="predicted" if can_confirm else setup.recorder), folder, executor)
    for each in predicted.tries:
        on_try(each)
    if not can_confirm:
        if predicted.error is not None:
            raise WorkloadError(f"no batch could be tried: {predicted.error}", hint=f"see {folder}/trials/001/log.txt")
        return _result(setup, predicted, predicted.tries)
    return _confirmed(setup, folder, executor, predicted, on_try)


def _predict(setup: CureSetup, folder: Path, executor: Executor) -> MaxBatchReport:
    file = CureTrialFile(setup=setup, trial=CureTrial(number=1, settings=setup.settings))
    return MAX_BATCH_SEARCH.collect(run_one(executor, job_of(MAX_BATCH_SEARCH, folder, file)), file)


def _confirmed(
    setup: CureSetup, folder: Path, executor: Executor, predicted: MaxBatchReport, on_try: OnTry
) -> MaxBatch:
    """Run sizes around the predicted one on the GPU."""
    measured: list[BatchTry] = []

    def attempt(size: int) -> Attempt:
        trial = CureTrial(number=2 + len(measured), batch_size=size, settings=setup.settings, wants_loss=False)
        file = CureTrialFile(setup=setup, trial=trial)
        report = CURE_TRIAL.collect(run_one(executor, job_of(CURE_TRIAL, folder, file)), file)
        fits = report.ending == "ok"
        peak = report.peaks[0].peak_reserved_bytes if fits and report.peaks else None
        measured.append(BatchTry(batch_size=size, fits=fits, peak_reserved_bytes=peak, recorder=setup.recorder))
        on_try(measured[-1])
        return Attempt(fits=fits, peak_bytes=peak)

    assert setup.capacity_bytes is not None
    start = predicted.batch_size or predicted.current_batch_size or 1
    found = search_largest(attempt, start=start, capacity_bytes=setup.capacity_bytes, resolution=RESOLUTION)
    confirmed = replace(predicted, batch_size=found.size or None, is_limit_reached=found.is_limit_reached)
    return replace(_result(setup, confirmed, (*predicted.tries, *measured)), is_confirmed=found.size > 0)


def _result(setup: CureSetup, report: MaxBatchReport, tries: Sequence[BatchTry]) -> MaxBatch:
    assert setup.capacity_bytes is not None
    return MaxBatch(
        batch_size=report.batch_size,
        capacity_bytes=setup.capacity_bytes,
        current_batch_size=report.current_batch_size,
        bytes_per_sample=bytes_per_sample(tries),
        is_limit_reached=report.is_limit_reached,
        is_confirmed=None,
        tries=tuple(tries),
    )


def bytes_per_sample(tries: Sequence[BatchTry]) -> float | None:
    """By how much the smallest and the largest size tried differ, a sample; None where only one has figures."""
    known = {each.batch_size: each.peak_reserved_bytes for each in tries if each.peak_reserved_bytes is not None}
    if len(known) < 2:
        return None
    low, high = min(known), max(known)
    return (known[high] - known[low]) / (high - low)
