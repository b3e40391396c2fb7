"""Time per step of each finder over a bare loop on the same batches, interleaved in one process, medians of the rounds."""

import statistics
import time
from collections.abc import Callable

import lrtool
from benchmarks.finders.cases import Case, Setup
from benchmarks.finders.peers import PEERS, Ramp

START_LR, END_LR = 1e-7, 1e-3
"""A ramp on which nothing diverges, so that everybody takes every step."""


def time_per_step(case: Case, *, num_steps: int, rounds: int) -> dict[str, float]:
    """Seconds a step of the bare loop and of every finder, from a built setup to its suggestion and the state put back."""
    runs: dict[str, Callable[[Setup, int], int]] = {"bare loop": _bare_loop, "lrtool": _lrtool}
    runs |= {name: _peer(name) for name in PEERS}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(rounds + 1):
        for name, run in list(runs.items())[:: 1 if index % 2 else -1]:
            setup = case.setup(seed=0)
            begin = time.perf_counter()
            taken = run(setup, num_steps)
            times[name].append((time.perf_counter() - begin) / taken)
    return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first round warms up


def _bare_loop(setup: Setup, num_steps: int) -> int:
    """The loop anybody would write, with a constant LR."""
    optimizer = setup.make_optimizer(setup.model.parameters())
    taken = 0
    while taken < num_steps:
        for inputs, labels in setup.train_loader:
            optimizer.zero_grad(set_to_none=True)
            loss = setup.criterion(setup.model(inputs), labels)
            loss.backward()
            optimizer.step()
            taken += 1
            if taken == num_steps:
                break
    return taken


def _lrtool(setup: Setup, num_steps: int) -> int:
    found = lrtool.range_test(setup.as_workload(), start_lr=START_LR, end_lr=END_LR, num_steps=num_steps)
    return found.num_steps


def _peer(name: str) -> Callable[[Setup, int], int]:
    ramp = {"start_lr": START_LR, "end_lr": END_LR}
    return lambda setup, num_steps: PEERS[name](setup, Ramp(**ramp, num_steps=num_steps)).num_steps
