"""Whole sweeps made by hand, with the steps of their trials."""

import random
from dataclasses import replace

from lrtool.results import Environment, GrowthSource, MemSweep, Result, Run, StepSeries, Trial
from lrtool.sweep.verdict import conclude_sweep
from tests.sweep.made_trials import GIB, MIB, condition, steps_of, trial

Made = tuple[MemSweep, dict[int, StepSeries]]
RATE, BASE, CAPACITY = 3_753_903, 560 * MIB, 24 * GIB
LEAK = GrowthSource(
    source="train.py:41", line="history.append(loss)", container="list 'history' of train.py", bytes_per_step=RATE
)


def sweep(trials: list[Trial], series: dict[int, StepSeries], capacity: int | None = None) -> MemSweep:
    return MemSweep(
        target="train.py:build", recorder=trials[0].recorder, recorder_reason="there is no GPU here", capacity_bytes=capacity,
        card=None, base_lr=1e-4, max_lr=0.01, lr_source="the last range test", trials=tuple(trials),
        verdict=conclude_sweep(trials, series, capacity_bytes=capacity), duration_s=12.3,
    )  # fmt: skip


def story(sizes: tuple[int, ...] = (2500, 3000, 3500)) -> Made:
    """The one that runs out of memory at 3500 and not at 2500 and 3000."""
    trials: list[Trial] = []
    series: dict[int, StepSeries] = {}
    for number, size in enumerate(sizes):
        lasting = (CAPACITY - BASE - 300 * MIB) // RATE
        allocated = [BASE + RATE * step for step in range(1, min(2 * size, lasting) + 1)]
        reserved = [(each + 200 * MIB) // (20 * MIB) * 20 * MIB for each in allocated]
        steps = steps_of(allocated, within=180 * MIB, reserved=reserved)
        is_oom = 2 * size > lasting
        made = trial(number, condition(size), steps, sources=(LEAK,), status="oom" if is_oom else "ok", request=4 * MIB)
        trials.append(made)
        series[number] = steps
    return sweep(trials, series, CAPACITY), series


def flat(*, repeats: int = 1, capacity: int | None = None, sizes: tuple[int, ...] = (20, 30, 40)) -> Made:
    trials: list[Trial] = []
    series: dict[int, StepSeries] = {}
    for repeat in range(repeats):
        for size in sizes:
            number = len(trials)
            steps = steps_of([3 * MIB, *[4 * MIB] * (2 * size - 1)], within=MIB, reserved=[22 * MIB] * 2 * size)
            trials.append(trial(number, condition(size), steps, repeat=repeat))
            series[number] = steps
    return sweep(trials, series, capacity), series


def noisy_axes() -> Made:
    """Two batch sizes and three step sizes on a GPU, with noise, evaluation, and one trial that failed at once."""
    rng = random.Random(0)
    trials: list[Trial] = []
    series: dict[int, StepSeries] = {}
    for batch in (64, 256):
        for size in (50, 100, 200):
            number = len(trials)
            of = condition(size, batch_size=batch)
            allocated = [
                batch * MIB * 4 + rng.randrange(30 * MIB) + (step % 40 == 0) * 100 * MIB for step in range(2 * size)
            ]
            reserved = [max(allocated[: step + 1]) + 300 * MIB for step in range(2 * size)]
            steps = steps_of(allocated, within=batch * MIB, reserved=reserved)
            if (batch, size) == (256, 200):
                trials.append(trial(number, of, None, status="failed", message="KeyError: 'x'", recorder="cuda"))
            else:
                trials.append(trial(number, of, steps, recorder="cuda"))
                series[number] = steps
    return sweep(trials, series, 2 * GIB), series


def nothing() -> Made:
    """Every trial is out of memory at its first step."""
    trials = [
        replace(trial(n, condition(s), None, status="oom", request=GIB), duration_s=0.1) for n, s in enumerate((20, 30))
    ]
    return sweep(trials, {}, 4 * GIB), {}


def run_of(result: MemSweep) -> Run[Result]:
    return Run(
        command="mem-sweep", created="2026-01-01T00:00:00+00:00", arguments=(), result=result,
        environment=Environment(lrtool="0.1.0", python="3.12", torch="2.13", platform="Linux x86_64", num_cpus=2,
                                device_name=None, cuda=None),
    )  # fmt: skip
