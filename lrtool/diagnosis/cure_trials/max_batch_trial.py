"""The predicted search for the largest batch, in a process of its own."""

import sys
import traceback
from dataclasses import replace
from pathlib import Path

from lrtool.diagnosis.cure_trials.batch_search import Attempt, search_largest
from lrtool.diagnosis.cure_trials.reports import MAX_BATCH_SEARCH, CureTrialFile, MaxBatchReport
from lrtool.diagnosis.cure_trials.trial import build_of, peaks_under, traced_run
from lrtool.diagnosis.cures.batches import Peeked, batch_size
from lrtool.errors import LrtoolError, cut
from lrtool.results import BatchTry
from lrtool.workload.target import load


def run_trial(folder: Path) -> None:
    """Search by tracing one size after the other, and write what came of it beside `folder/trial.json`."""
    file = MAX_BATCH_SEARCH.read_given(folder)
    tries: list[BatchTry] = []
    current: int | None = None
    try:
        current = current_batch_size(file)
        assert file.setup.capacity_bytes is not None
        found = search_largest(
            lambda size: _traced_attempt(file, size, tries), start=current, capacity_bytes=file.setup.capacity_bytes
        )
        report = MaxBatchReport(
            batch_size=found.size or None,
            current_batch_size=current,
            is_limit_reached=found.is_limit_reached,
            tries=tuple(tries),
        )
    except BaseException as error:
        sys.stderr.write("".join(traceback.format_exception(error)))
        told = error.message if isinstance(error, LrtoolError) else f"{type(error).__name__}: {error}"
        report = MaxBatchReport(current_batch_size=current, tries=tuple(tries), error=cut(told))
    MAX_BATCH_SEARCH.write(folder, report)


def current_batch_size(file: CureTrialFile) -> int:
    """Samples in the first batch as the user's code makes it. Raises WorkloadError, CannotHelp."""
    import torch

    setup = file.setup
    workload = load(setup.target, params=setup.params).build(seed=setup.seed, device=torch.device("cpu"))
    return batch_size(next(iter(Peeked(workload.train_loader, 1).first), None))


def _traced_attempt(file: CureTrialFile, size: int, tries: list[BatchTry]) -> Attempt:
    sized = replace(file, trial=replace(file.trial, batch_size=size))
    traced = traced_run(sized, build_of(sized))
    peaks = peaks_under(traced, file.trial.settings, file.setup.capacity_bytes)
    fits = bool(peaks.fits)
    tries.append(
        BatchTry(
            batch_size=size, fits=fits, peak_reserved_bytes=peaks.peak_reserved_bytes, recorder=file.setup.recorder
        )
    )
    return Attempt(fits=fits, peak_bytes=peaks.peak_reserved_bytes)
