"""What an executor costs: overhead per trial of 2 s, and how much sooner a sweep ends with two workers than with one.

    python -m benchmarks.executors              # subprocess, and Ray where it is installed
    python -m benchmarks.executors --trials 8

A trial's overhead is the wall time of a sweep with one worker over its trials, less the time that each trial sleeps.
It holds the start of Python and the import of torch: once a sweep where trials are forked from a process that has imported
it, once a trial elsewhere, as with Ray.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lrtool.config import MemSweepSettings
from lrtool.sweep.executors.executor import Executor
from lrtool.sweep.executors.subprocess import SubprocessExecutor
from lrtool.sweep.plan import Plan, Setup, plan_trials
from lrtool.sweep.runner import begin_run, run_trials

TRIAL_S = 2.0
WORKLOAD = f"""
import time, torch
def build():
    time.sleep({TRIAL_S})
    model = torch.nn.Linear(4, 1)
    return {{"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "train_loader": [torch.ones(2, 4)],
            "loss": lambda model, batch: model(batch).sum()}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Wall time of one sweep."""

    num_trials: int
    workers: int
    wall_s: float

    @property
    def overhead_s(self) -> float:
        """Per trial, beyond the time it sleeps; of a sweep with one worker."""
        return self.wall_s / self.num_trials - TRIAL_S


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=6, help="trials of a sweep (default: 6)")
    options = parser.parse_args()
    for name, executor_with in executors().items():
        one, two = (timed(executor_with(workers), workers=workers, num_trials=options.trials) for workers in (1, 2))
        sys.stdout.write(
            f"{name:<10}  1 worker {one.wall_s:6.1f} s, {one.overhead_s:.2f} s per trial beyond its {TRIAL_S:.0f} s;  "
            f"2 workers {two.wall_s:6.1f} s;  ratio {one.wall_s / two.wall_s:.2f} (ideal 2.0)\n"
        )


def executors() -> dict[str, Callable[[int], Executor]]:
    """Makers of executors with so many workers, by name."""
    found: dict[str, Callable[[int], Executor]] = {
        "subprocess": lambda workers: SubprocessExecutor(slots=[{}] * workers)
    }
    if find_spec("ray") is not None:
        found["ray"] = _ray_with
    return found


def timed(executor: Executor, *, workers: int, num_trials: int) -> Timing:
    """Run a sweep of equal trials; the cluster of an executor is there before the clock starts."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        file = run_dir / "sleeps.py"
        file.write_text(WORKLOAD)
        plan = _plan(str(file), num_trials)
        begin_run(run_dir, plan)
        begin = time.perf_counter()
        finished = run_trials(plan, run_dir, executor, on_trial=lambda *_: None)
        wall_s = time.perf_counter() - begin
        assert [report.trial.status for report in finished.reports] == ["ok"] * num_trials
        return Timing(num_trials=num_trials, workers=workers, wall_s=wall_s)


def _ray_with(workers: int) -> Executor:
    from lrtool.sweep.executors.ray import RayExecutor, TaskRequest

    return RayExecutor(address="local", request=TaskRequest(num_cpus=1 if workers == 2 else 2))


def _plan(target: str, num_trials: int) -> Plan:
    settings = MemSweepSettings(step_sizes=(5,), repeats=num_trials, steps=1)
    return Plan(
        setup=Setup(
            target=target,
            recorder="cpu",
            device="cpu",
            gpu="h100",
            capacity_bytes=None,
            base_lr=None,
            max_lr=None,
            history=(),
        ),
        recorder_reason="for a benchmark",
        card=None,
        lr_source="the optimizer",
        trials=plan_trials(settings, params={}, seed=0),
        settings={},
    )


if __name__ == "__main__":
    main()
