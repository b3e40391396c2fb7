"""What it takes to read a stored run: seconds and memory of `report`, `check`, `baseline` and `compare` on large sweeps.

    python benchmarks/reading_cost.py [--repeats 5]

The run has 3 trials of 7,000 steps. Each command runs in a process of its own; bounds: 1.5 s and 300 MiB, without
torch. Seconds are the least of the repeats, of the CPU and by the clock: on a busy machine only the former tell.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lrtool.results.stored.run_dir import create_run_dir, write_run
from lrtool.results.stored.trial_dir import write_series
from tests.sweep.made_sweeps import run_of, story

COMMANDS = (
    ("report", "1"),
    ("check", "1", "--max", "peak_allocated=4TiB", "--max", "growth=1GiB"),
    ("check", "1", "--baseline", "2", "--format", "junit"),
    ("baseline", "1"),
    ("compare", "1", "2"),
)
MAX_SECONDS, MAX_MIB = 1.5, 300


def main() -> None:
    """Store the runs, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            _store(Path(folder) / "runs")
        for command in COMMANDS:
            cpu, wall = (min(each) for each in zip(*(_measured(command, folder) for _ in range(repeats)), strict=True))
            verdict = "within bounds" if cpu < MAX_SECONDS and _peak_mib() < MAX_MIB else "BEYOND BOUNDS"
            print(f"{' '.join(command):62} CPU {cpu:4.2f} s, clock {wall:4.2f} s  {verdict}", flush=True)
    print(f"most memory of any: {_peak_mib():.0f} MiB")


def _store(runs: Path) -> None:
    sweep, series = story(sizes=(3500, 3501, 3502))
    run_dir = create_run_dir(runs, command="mem-sweep")
    write_run(run_dir, run_of(sweep))
    for number, steps in series.items():
        (run_dir / f"trials/{number:03d}").mkdir(parents=True)
        write_series(run_dir, number, steps)


def _measured(command: tuple[str, ...], folder: str) -> tuple[float, float]:
    """CPU seconds, and seconds by the clock."""
    begin, before = time.perf_counter(), _cpu_s()
    run = subprocess.run(
        [sys.executable, "-m", "lrtool", *command], cwd=folder, check=False, capture_output=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert run.returncode in (0, 1), run.stderr
    return _cpu_s() - before, time.perf_counter() - begin


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    main()
