"""Time per step of the range test over a hand-written loop that does the same work on the same batches.

    python benchmarks/range_test_overhead.py [--steps 100] [--rounds 10] [--device cpu]

The two alternate in one process; each figure is the median of the rounds. The loop does forward, backward and step with a
constant LR and keeps no losses; the range test is `lrtool.lr.measure.measure` on a factory, with its ramp, its curve, its
looks for divergence and its progress calls. The ramp ends at an LR where nothing diverges, so that both take every step.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from lrtool.config import RangeTestSettings
from lrtool.examples import char_transformer, digits
from lrtool.lr.measure import measure
from lrtool.lr.source import Source
from lrtool.workload.adapters import as_workload
from lrtool.workload.batches import move
from lrtool.workload.target import Factory
from lrtool.workload.workload import Workload

BOUNDS = {"digits MLP": 1.05, "char transformer": 1.01}


def bare_loop(workload: Workload, device: torch.device, num_steps: int) -> float:
    """Seconds of the loop anybody would write."""
    model, optimizer, loss_of = workload.model.to(device), workload.optimizer, workload.loss
    assert loss_of is not None
    synchronize(device)
    begin = time.perf_counter()
    taken = 0
    while taken < num_steps:
        for batch in workload.train_loader:
            on_device = batch if device.type == "cpu" else move(batch, device)
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model, on_device)
            loss.backward()
            optimizer.step()
            taken += 1
            if taken == num_steps:
                break
    synchronize(device)
    return time.perf_counter() - begin


def ours(workload: Workload, device: torch.device, num_steps: int) -> float:
    """Seconds of the range test, from a built workload to its last loss."""
    factory = Factory(name="prebuilt", function=lambda: workload)
    source = Source(name="prebuilt", factory=factory, device=device)
    settings = RangeTestSettings(start_lr=1e-7, end_lr=1e-3, num_steps=num_steps)
    synchronize(device)
    begin = time.perf_counter()
    measurement = measure(source, settings=settings, seed=0, on_progress=lambda progress: None)
    synchronize(device)
    taken = time.perf_counter() - begin
    assert len(measurement.ramps[0].losses) == num_steps, measurement.ramps[0].stop
    return taken


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(build: Callable[..., dict[str, Any]], device: torch.device, *, num_steps: int, rounds: int) -> None:
    times: dict[str, list[float]] = {"bare": [], "lrtool": []}
    for index in range(rounds + 1):
        order = [("bare", bare_loop), ("lrtool", ours)]
        for name, run in order if index % 2 else reversed(order):
            workload = as_workload(build(seed=0), name="build()")
            times[name].append(run(workload, device, num_steps) / num_steps * 1e3)
    bare, lrtool = (statistics.median(times[name][1:]) for name in ("bare", "lrtool"))  # the first round warms up
    print(f"  bare loop {bare:.4f} ms a step   range test {lrtool:.4f} ms a step   ratio {lrtool / bare:.3f}", end="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="torch's CPU threads")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, {options.steps} steps a run")
    for name, build in {"digits MLP": digits.build, "char transformer": char_transformer.build}.items():
        print(f"{name:18}", end="")
        compare(build, device, num_steps=options.steps, rounds=options.rounds)
        print(f"   (bound {BOUNDS[name]})")


if __name__ == "__main__":
    main()
