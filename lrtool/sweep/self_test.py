"""The self-test of the recorders: five steps of a training whose memory is known, each recorder in a process of its own."""

import re
import socket
from pathlib import Path

from lrtool.results import Condition, Recorder, SelfTest, StepSeries, is_measured
from lrtool.results.stored.trial_dir import read_series, trial_dir
from lrtool.sweep.executors.executor import Executor
from lrtool.sweep.plan import PlannedTrial, Setup
from lrtool.sweep.reports import SWEEP_TRIAL, TrialFile, TrialReport
from lrtool.tracing.tracer.canary import BATCH_BYTES, STEADY_BYTES
from lrtool.tracing.workspaces.platform import this_platform

NUM_STEPS = 5
TARGET = "lrtool.tracing.tracer.canary:build"
RECORDERS: tuple[Recorder, ...] = ("cuda", "predicted", "cpu")
_GPU = "h100"
_CAPABILITY = (9, 0)


def run_self_tests(folder: Path, executor: Executor, *, absent: dict[Recorder, str]) -> tuple[SelfTest, ...]:
    """Run the known training under every recorder that is not `absent` (recorder -> why); `folder` is for its files."""
    given = {
        recorder: TrialFile(setup=_setup(recorder), trial=_trial(number))
        for number, recorder in enumerate(RECORDERS, 1)
        if recorder not in absent
    }
    folders = {recorder: trial_dir(folder, file.trial.number) for recorder, file in given.items()}
    jobs = [SWEEP_TRIAL.job(folders[recorder], file, recorder=recorder) for recorder, file in given.items()]
    endings = {ended.folder: ended for ended in executor.run(jobs)}
    judged = {
        recorder: judge(
            recorder, SWEEP_TRIAL.collect(endings[folders[recorder]], file), read_series(folder, file.trial.number)
        )
        for recorder, file in given.items()
    }
    return tuple(judged.get(recorder) or _absent(recorder, absent[recorder]) for recorder in RECORDERS)


def expected_bytes(recorder: Recorder) -> int:
    """What is allocated between steps, worked out by hand.

    A prediction adds the workspaces that cuBLAS is known to keep; on the CPU, the batch is there from the start.
    """
    if recorder == "cpu":
        return STEADY_BYTES + BATCH_BYTES
    platform = this_platform(_CAPABILITY)
    is_kept = recorder == "predicted" and platform.torch_version < (2, 15)
    return STEADY_BYTES + (2 * platform.cublas_workspace_bytes if is_kept else 0)


def judge(recorder: Recorder, report: TrialReport, steps: StepSeries | None) -> SelfTest:
    """A finished self-test. On a GPU, more than expected is what its libraries keep; less cannot be."""
    trial = report.trial
    expected = expected_bytes(recorder)
    allocated = steps.allocated_bytes[-1] if steps is not None and steps.allocated_bytes else None
    has_failed = trial.status != "ok" or allocated is None or len(set(steps.allocated_bytes[1:]) if steps else ()) != 1
    is_expected = allocated == expected or (is_measured(recorder) and allocated is not None and allocated > expected)
    return SelfTest(
        recorder=recorder,
        status="failed" if has_failed else "ok" if is_expected else "differs",
        num_steps=trial.num_steps_done,
        allocated_bytes=allocated,
        expected_bytes=expected,
        message=without_names(trial.message) if trial.status != "ok" and trial.message else None,
        duration_s=trial.duration_s,
    )


def _setup(recorder: Recorder) -> Setup:
    return Setup(
        target=TARGET,
        recorder=recorder,
        device="auto" if is_measured(recorder) else "cpu",
        gpu=_GPU,
        capacity_bytes=None,
        base_lr=None,
        max_lr=None,
        history=(),
    )


def _trial(number: int) -> PlannedTrial:
    condition = Condition(
        step_size_up=NUM_STEPS, step_size_down=NUM_STEPS, schedule="constant", mode="triangular", gamma=1.0,
        scale_mode="cycle", settings="", precision=None, params={},
    )  # fmt: skip
    return PlannedTrial(number=number, position=number - 1, repeat=0, seed=0, num_steps=NUM_STEPS, condition=condition)


def _absent(recorder: Recorder, reason: str) -> SelfTest:
    return SelfTest(
        recorder=recorder, status="unavailable", num_steps=0, allocated_bytes=None, expected_bytes=None,
        message=without_names(reason), duration_s=None,
    )  # fmt: skip


def without_names(text: str) -> str:
    """A message fit for strangers: of paths the last part only, and neither this host's name nor the user's."""
    text = re.sub(r"(?<![\w.])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:'\"]+[/\\])+", "", text)
    for name, mark in ((socket.gethostname(), "HOST"), (Path.home().name, "USER")):
        if name:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", mark, text)
    return text
