"""The largest batch: predicted in one process, and on a GPU confirmed by running, whatever becomes of the runs."""

import json
from collections.abc import Generator, Iterable
from dataclasses import asdict
from pathlib import Path

import pytest

from lrtool.diagnosis.cure_trials.max_batch import find_max_batch
from lrtool.diagnosis.cure_trials.reports import CureReport, CureSetup, CureTrialFile, MaxBatchReport, SettingsPeaks
from lrtool.errors import UnavailableError, WorkloadError
from lrtool.results import BatchTry, MaxBatch, Recorder
from lrtool.results.stored.trial_dir import RESULT_FILE, TRIAL_FILE, read_json, write_json
from lrtool.sweep.executors.executor import Ended, Job
from tests.diagnosis.cures.cured_models import WIDTH
from tests.sweep.running import InlineExecutor

MIB = 2**20
TOWER = "tests.diagnosis.cures.cured_models:tower"


def setup(recorder: Recorder = "predicted", capacity: int | None = 80 * MIB, target: str = TOWER) -> CureSetup:
    return CureSetup(
        target=target, params={"num_blocks": 1, "rows": 4096}, recorder=recorder, device="auto", gpu="t4",
        capacity_bytes=capacity, seed=0, num_steps=3,
    )  # fmt: skip


def found(tmp_path: Path, of: CureSetup, executor: object) -> tuple[MaxBatch, list[BatchTry]]:
    told: list[BatchTry] = []
    return find_max_batch(of, tmp_path, executor, on_try=told.append), told  # type: ignore[arg-type]


def test_the_predicted_batch_fits_and_a_sample_takes_what_backward_keeps_of_it(tmp_path: Path) -> None:
    result, told = found(tmp_path, setup(), InlineExecutor())

    largest = max((each for each in result.tries if each.fits), key=lambda each: each.batch_size)
    next_one = min((each for each in result.tries if not each.fits), key=lambda each: each.batch_size)
    assert result.batch_size == largest.batch_size == next_one.batch_size - 1
    assert result.current_batch_size == 4096
    assert result.is_limit_reached
    assert result.is_confirmed is None
    assert list(result.tries) == told
    row = 4 * WIDTH  # the batch, three results that backward needs, and one more in flight
    assert result.bytes_per_sample == pytest.approx(5 * row, rel=0.1)


def test_a_capacity_below_a_single_sample_is_an_answer_too(tmp_path: Path) -> None:
    result, _ = found(tmp_path, setup(capacity=2 * MIB), InlineExecutor())

    assert (result.batch_size, result.is_limit_reached) == (None, True)


def test_without_a_capacity_and_without_a_workload_two_lines_say_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="needs a capacity"):
        found(tmp_path, setup(capacity=None), InlineExecutor())
    with pytest.raises(WorkloadError, match=r"no batch could be tried: .*nothing_there"):
        found(tmp_path, setup(target="tests.diagnosis.cures.cured_models:nothing_there"), InlineExecutor())


class MadeGpu:
    """Runs nothing: the prediction says `predicted`, and on the device batches above `largest` end in one way or another."""

    def __init__(self, predicted: int | None, largest: int, *, endings: tuple[str, ...] = ("oom",)) -> None:
        self.predicted, self.largest, self.endings = predicted, largest, endings
        self.num_failed = 0

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]:
        for job in jobs:
            file = read_json(job.folder / TRIAL_FILE, CureTrialFile)
            ended = Ended(folder=job.folder, exit_code=0, signal=None, timed_out=False, duration_s=1.0)
            if file.trial.batch_size is None:
                report = MaxBatchReport(
                    batch_size=self.predicted, current_batch_size=32, is_limit_reached=True, tries=(),
                    error=None if self.predicted else "nothing can be predicted here",
                )  # fmt: skip
                write_json(job.folder / RESULT_FILE, asdict(report))
            elif file.trial.batch_size <= self.largest:
                self._write(job.folder, file, "ok")
            else:
                ending = self.endings[self.num_failed % len(self.endings)]
                self.num_failed += 1
                if ending == "killed":
                    ended = Ended(folder=job.folder, exit_code=None, signal="SIGKILL", timed_out=False, duration_s=1.0)
                else:
                    self._write(job.folder, file, ending)
            yield ended

    @staticmethod
    def _write(folder: Path, file: CureTrialFile, ending: str) -> None:
        assert file.trial.batch_size is not None
        taken = file.trial.batch_size * MIB
        peaks = SettingsPeaks(name="", settings="", peak_allocated_bytes=taken, peak_reserved_bytes=taken,
                              reserved_at_capacity_bytes=taken, fits=ending == "ok")  # fmt: skip
        report = CureReport(trial=file.trial, ending=ending, peaks=(peaks,))  # type: ignore[arg-type]
        (folder / RESULT_FILE).write_text(json.dumps(asdict(report)))


@pytest.mark.parametrize("largest", [1, 37, 190, 200])
@pytest.mark.parametrize("endings", [("oom",), ("oom", "killed", "failed")], ids=["oom", "all kinds of ends"])
def test_on_a_gpu_the_batch_is_one_that_ran_and_every_death_is_survived(
    tmp_path: Path, largest: int, endings: tuple[str, ...]
) -> None:
    result, _ = found(tmp_path, setup("cuda"), MadeGpu(200, largest, endings=endings))

    assert result.is_confirmed
    assert result.batch_size is not None
    assert largest * (1 - 1 / 32) - 1 <= result.batch_size <= largest
    assert any(each.fits and each.batch_size == result.batch_size for each in result.tries)


def test_where_every_try_runs_out_of_memory_that_is_the_answer(tmp_path: Path) -> None:
    result, _ = found(tmp_path, setup("cuda"), MadeGpu(200, 0))

    assert (result.batch_size, result.is_confirmed) == (None, False)
    assert not any(each.fits for each in result.tries)


def test_without_a_prediction_the_runs_begin_at_the_users_own_size(tmp_path: Path) -> None:
    result, told = found(tmp_path, setup("cuda"), MadeGpu(None, 100))

    assert told[0].batch_size == 32
    assert result.batch_size is not None
    assert 96 <= result.batch_size <= 100
