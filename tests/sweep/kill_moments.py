"""Sweeps killed at random moments, each in a fork of this process: `python -m tests.sweep.kill_moments FOLDER COUNT SEED`.

A fork, because it starts in no time; a process of its own around it, because one that has trained must not be forked.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch._subclasses  # noqa: F401  what a trial would import, once for all forks

import lrtool.sweep.trial  # noqa: F401
from tests.sweep.running import plan_of, run

STEP_SIZES = (5, 6)


def main(folder: Path, count: int, seed: int) -> None:
    began = time.monotonic()
    os.waitpid(_forked_sweep(folder / "undisturbed"), 0)
    lasts_s = time.monotonic() - began
    draw = random.Random(seed)
    for moment in range(count):
        pid = _forked_sweep(folder / f"killed-{moment:02}")
        time.sleep(draw.uniform(0, 1.2 * lasts_s))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _forked_sweep(run_dir: Path) -> int:
    """The process id of a sweep that has just begun."""
    pid = os.fork()
    if pid == 0:
        run(plan_of("good", step_sizes=STEP_SIZES), run_dir)
        os._exit(0)
    return pid


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
