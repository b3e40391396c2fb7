"""Cures and the largest batch below a command's options: what is announced as their trials run."""

from pathlib import Path
from typing import TYPE_CHECKING

from lrtool.cli.console import Terminal, stdout_to_stderr
from lrtool.units import format_bytes

if TYPE_CHECKING:
    from lrtool.results import BatchTry, Cures, MaxBatch
    from lrtool.sweep.cure_reports import CureSetup

CURES_FOLDER, BATCHES_FOLDER = "cures", "max-batch"
"""Within a run directory, where the files of these trials are kept."""


def run_cures(terminal: Terminal, setup: "CureSetup", run_dir: Path) -> "Cures":
    """Try all cures, with a line for each as it ends. Raises WorkloadError where the workload cannot be run at all."""
    from lrtool.sweep.cure_trials import num_at_once, try_cures
    from lrtool.sweep.executors import SubprocessExecutor

    def tell(name: str, num_done: int, num_planned: int) -> None:
        terminal.note(f"cures: {num_done} of {num_planned} done, {name}")

    terminal.note(f"trying cures on {setup.target}, each in a process of its own, {setup.num_steps} steps")
    with stdout_to_stderr():
        executor = SubprocessExecutor(slots=[{}] * num_at_once(setup))
        return try_cures(setup, run_dir / CURES_FOLDER, executor, on_trial=tell)


def run_max_batch(terminal: Terminal, setup: "CureSetup", run_dir: Path) -> "MaxBatch":
    """Search the largest batch, with a line for each size. Raises UnavailableError without a capacity, WorkloadError."""
    from lrtool.sweep.executors import SubprocessExecutor
    from lrtool.sweep.max_batch import find_max_batch

    terminal.note(f"searching the largest batch of {setup.target}")
    with stdout_to_stderr():
        folder = run_dir / BATCHES_FOLDER
        return find_max_batch(setup, folder, SubprocessExecutor(), on_try=lambda each: terminal.note(try_line(each)))


def try_line(each: "BatchTry") -> str:
    """A size that was tried, in one line."""
    peak = "" if each.peak_reserved_bytes is None else f", peak {format_bytes(each.peak_reserved_bytes)} reserved"
    return f"batch size {each.batch_size:,}: {'fits' if each.fits else 'does not fit'}{peak}, {each.recorder}"
