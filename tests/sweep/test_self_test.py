"""The self-test of the recorders: a training whose memory is known by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from lrtool.results import Recorder, SelfTest, StepSeries, TrialStatus
from lrtool.sweep.reports import TrialReport
from lrtool.sweep.self_test import NUM_STEPS, expected_bytes, judge, run_self_tests, without_names
from lrtool.tracing.tracer.canary import BATCH_BYTES, STEADY_BYTES
from tests.sweep.made_trials import condition, trial
from tests.sweep.running import InlineExecutor

NO_GPU: dict[Recorder, str] = {"cuda": "no CUDA device here"}


def test_parameters_gradients_and_momentum_in_whole_blocks() -> None:
    weights = 4 * 96 * 128 + 4 * 128 + 4 * 128 * 16
    last_bias = 512  # 64 B, rounded up

    assert 3 * (weights + last_bias) == STEADY_BYTES
    assert BATCH_BYTES == 4 * 32 * 96 + 512


def test_the_recorders_that_are_here_find_what_was_worked_out(tmp_path: Path) -> None:
    tests = run_self_tests(tmp_path, InlineExecutor(), absent=NO_GPU)

    assert [(test.recorder, test.status) for test in tests] == [
        ("cuda", "unavailable"), ("predicted", "ok"), ("cpu", "ok"),
    ]  # fmt: skip
    assert [test.num_steps for test in tests] == [0, NUM_STEPS, NUM_STEPS]
    assert tests[2].allocated_bytes == STEADY_BYTES + BATCH_BYTES


def judged(recorder: Recorder, *allocated: int, status: TrialStatus = "ok") -> SelfTest:
    steps = StepSeries(
        allocated_bytes=allocated, active_bytes=allocated, reserved_bytes=allocated, inactive_split_bytes=allocated,
        requested_bytes=allocated, peak_allocated_bytes=allocated, num_alloc_retries=allocated, num_device_allocs=allocated,
    )  # fmt: skip
    made = replace(
        trial(1, condition(5), None), status=status, message="it broke in /home/ada/train.py", recorder=recorder
    )
    return judge(recorder, TrialReport(trial=made), steps)


@pytest.mark.parametrize(("extra", "status"), [(0, "ok"), (8_519_680, "ok"), (-512, "differs")])
def test_on_a_gpu_libraries_may_keep_more_but_nothing_can_be_missing(extra: int, status: str) -> None:
    bytes_at_end = expected_bytes("cuda") + extra

    assert judged("cuda", *[bytes_at_end] * 5).status == status


def test_memory_that_grows_a_trial_that_ended_badly_and_one_without_steps_have_failed() -> None:
    steady = expected_bytes("cpu")

    assert judged("cpu", *(steady + 512 * step for step in range(5))).status == "failed"
    assert judged("cpu", *[steady] * 5, status="killed").status == "failed"
    assert judged("cpu").status == "failed"


def test_a_message_names_neither_folders_nor_people_nor_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gauss-42")
    monkeypatch.setenv("HOME", "/home/ada")

    told = without_names("ada's run on gauss-42 broke in /home/ada/my/train.py:7, see C:\\Users\\ada\\log.txt")

    assert told == "USER's run on HOST broke in train.py:7, see log.txt"
