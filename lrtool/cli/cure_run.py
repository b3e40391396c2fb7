"""Cures and the largest batch, as a part of a diagnosis: what is tried, announced, and kept where it is interrupted."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lrtool.cli.console import Terminal, stdout_to_stderr
from lrtool.config import DiagnoseSettings
from lrtool.errors import Interrupted, LrtoolError
from lrtool.units import count_of, format_bytes

if TYPE_CHECKING:
    from lrtool.diagnosis.cure_trials.reports import CureSetup
    from lrtool.diagnosis.reports import DiagnosisSetup
    from lrtool.results import BatchTry, Cures, Diagnosis, MaxBatch
    from lrtool.sweep.executors.executor import Executor

CURES_FOLDER, BATCHES_FOLDER = "cures", "max-batch"
"""Within a run directory, where the files of these trials are kept."""


def check_cures(own: DiagnoseSettings) -> None:
    """Raise UsageError for a cure that there is not."""
    from lrtool.diagnosis.cures.registry import find_cures

    find_cures(own.only)


def with_cures(
    terminal: Terminal, found: "Diagnosis", own: DiagnoseSettings, *, setup: "DiagnosisSetup", run_dir: Path
) -> "tuple[Diagnosis, Interrupted | None]":
    """The diagnosis with the cures and the largest batch that were asked for.

    What goes wrong with them, Ctrl-C included, must not cost the user the diagnosis: the rest is a note, or handed back.
    """
    trials = _cure_setup(setup, own, capacity_bytes=setup.capacity_bytes or found.capacity_bytes)
    try:
        if own.cures:
            found = replace(found, cures=_tried(terminal, trials, own, run_dir))
        if own.max_batch:
            found = replace(found, max_batch=_searched(terminal, trials, own, run_dir))
    except LrtoolError as error:
        terminal.error(error)
        found = replace(found, notes=(*found.notes, f"cures: {error.message}"))
    except KeyboardInterrupt:
        return found, Interrupted("interrupted", hint="the diagnosis is stored; what was not tried yet is left out")
    if found.cures is not None and found.cures.was_interrupted:
        return found, Interrupted("interrupted", hint="the cures that were tried by then are stored")
    return found, None


def progress_line(name: str, num_done: int, num_planned: int) -> str:
    """What was tried, and how far it is; what runs by itself is not counted."""
    return f"cures: {name} done" if num_planned == 1 else f"cures: {num_done:,} of {num_planned:,} done, {name}"


def try_line(each: "BatchTry") -> str:
    """A size that was tried, in one line."""
    peak = "" if each.peak_reserved_bytes is None else f", peak {format_bytes(each.peak_reserved_bytes)} reserved"
    return f"batch size {each.batch_size:,}: {'fits' if each.fits else 'does not fit'}{peak}, {each.recorder}"


def _cure_setup(setup: "DiagnosisSetup", own: DiagnoseSettings, *, capacity_bytes: int | None) -> "CureSetup":
    from lrtool.diagnosis.cure_trials.reports import CureSetup

    return CureSetup(
        target=setup.target,
        params=setup.params,
        recorder=setup.recorder,
        device=setup.device,
        gpu=setup.gpu,
        gpus=setup.gpus,
        capacity_bytes=capacity_bytes,
        seed=setup.seed,
        num_steps=own.cure_steps,
        settings=setup.settings,
        modules=own.checkpoint,
    )


def _tried(terminal: Terminal, setup: "CureSetup", own: DiagnoseSettings, run_dir: Path) -> "Cures":
    from lrtool.diagnosis.cure_trials.session import num_at_once, try_cures
    from lrtool.diagnosis.cures.registry import CURES, OPTIONS, find_cures, find_options

    def tell(name: str, num_done: int, num_planned: int) -> None:
        terminal.note(progress_line(name, num_done, num_planned))

    terminal.note(f"trying cures, each in a process of its own, {count_of(setup.num_steps, 'step')} each")
    with stdout_to_stderr():
        executor = _executor(setup, own, jobs=num_at_once(setup))
        cures = find_cures(own.only) if own.only else CURES
        options = find_options(own.only) if own.only else OPTIONS
        return try_cures(setup, run_dir / CURES_FOLDER, executor, cures=cures, options=options, on_trial=tell)


def _searched(terminal: Terminal, setup: "CureSetup", own: DiagnoseSettings, run_dir: Path) -> "MaxBatch":
    from lrtool.diagnosis.cure_trials.max_batch import find_max_batch

    terminal.note("searching the largest batch")
    with stdout_to_stderr():
        executor = _executor(setup, own)
        folder = run_dir / BATCHES_FOLDER
        return find_max_batch(setup, folder, executor, on_try=lambda each: terminal.note(try_line(each)))


def _executor(setup: "CureSetup", own: DiagnoseSettings, *, jobs: int = 1) -> "Executor":
    from lrtool.sweep.executors import executor_of
    from lrtool.sweep.executors.executor import Demand

    return executor_of(own, Demand(recorder=setup.recorder, device=setup.device, jobs=jobs, timeout_s=own.timeout))
