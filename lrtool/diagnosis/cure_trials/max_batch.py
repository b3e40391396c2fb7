"""The largest batch that fits: found by prediction, and on a GPU confirmed by running, each try in a process of its own."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from lrtool.diagnosis.cure_trials.batch_search import Attempt, search_largest
from lrtool.diagnosis.cure_trials.max_batch_trial import MaxBatchReport
from lrtool.diagnosis.cure_trials.reports import CureReport, CureSetup, CureTrial, CureTrialFile, report_of
from lrtool.diagnosis.cure_trials.session import MODULE as RUN_MODULE
from lrtool.errors import UnavailableError, WorkloadError
from lrtool.results import BatchTry, MaxBatch
from lrtool.results.trial_dir import RESULT_FILE, TRIAL_FILE, read_json, trial_dir, write_json
from lrtool.sweep.executors.executor import Ended, Executor, job_of

SEARCH_MODULE = "lrtool.diagnosis.cure_trials.max_batch_trial"
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
    is_measured = setup.recorder == "cuda"
    predicted = _predict(replace(setup, recorder="predicted" if is_measured else setup.recorder), folder, executor)
    for each in predicted.tries:
        on_try(each)
    if not is_measured:
        if predicted.error is not None:
            raise WorkloadError(f"no batch could be tried: {predicted.error}", hint=f"see {folder}/trials/001/log.txt")
        return _result(setup, predicted, predicted.tries)
    return _confirmed(setup, folder, executor, predicted, on_try)


def _predict(setup: CureSetup, folder: Path, executor: Executor) -> MaxBatchReport:
    ended = _run(setup, CureTrial(number=1, settings=setup.settings), folder, executor, module=SEARCH_MODULE)
    file = ended.folder / RESULT_FILE
    if file.is_file():
        return read_json(file, MaxBatchReport)
    failed: CureReport = report_of(ended, CureTrial(number=1))
    return MaxBatchReport(
        batch_size=None, current_batch_size=None, is_limit_reached=False, tries=(), error=failed.message
    )  # fmt: skip


def _confirmed(
    setup: CureSetup, folder: Path, executor: Executor, predicted: MaxBatchReport, on_try: OnTry
) -> MaxBatch:
    """Run sizes around the predicted one on the GPU."""
    measured: list[BatchTry] = []

    def attempt(size: int) -> Attempt:
        trial = CureTrial(number=2 + len(measured), batch_size=size, settings=setup.settings, wants_loss=False)
        report = report_of(_run(setup, trial, folder, executor, module=RUN_MODULE), trial)
        fits = report.ending == "ok"
        peak = report.peaks[0].peak_reserved_bytes if fits and report.peaks else None
        measured.append(BatchTry(batch_size=size, fits=fits, peak_reserved_bytes=peak, recorder="cuda"))
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


def _run(setup: CureSetup, trial: CureTrial, folder: Path, executor: Executor, *, module: str) -> Ended:
    own = trial_dir(folder, trial.number)
    own.mkdir(parents=True)
    write_json(own / TRIAL_FILE, asdict(CureTrialFile(setup=setup, trial=trial)))
    job = job_of(own, recorder=setup.recorder, settings=trial.settings, module=module)
    with closing(executor.run([job])) as endings:
        return next(endings)
