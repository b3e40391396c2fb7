"""Cures and the largest batch below a command's options: what is decided, announced, stored and raised."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrtool.cli import options
from lrtool.cli.console import Terminal, stdout_to_stderr
from lrtool.cli.output import show, store
from lrtool.config import Settings
from lrtool.errors import Interrupted, LrtoolError
from lrtool.memory.cards import card_to_predict_for, parse_capacity
from lrtool.store import create_run_dir
from lrtool.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrtool.memory.cures import Cure
    from lrtool.results import BatchTry, Cures, MaxBatch
    from lrtool.sweep.cure_reports import CureSetup

COMMAND = "cures"
CURES_FOLDER, BATCHES_FOLDER = "cures", "max-batch"
"""Within a run directory, where the files of these trials are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """What the trials share, and what is told of it: why this recorder, and for which card."""

    setup: "CureSetup"
    recorder_reason: str
    card: str | None


def start_cures(terminal: Terminal, settings: Settings, *, wants_batch: bool, as_json: bool) -> None:
    """Try cures, or search the largest batch, in a new run directory."""
    from lrtool.memory.cures import CURES, find_cures
    from lrtool.results import CureRun

    begin = time.perf_counter()
    own = settings.cures
    with stdout_to_stderr():
        cures = find_cures(own.only) if own.only else CURES
        decided = decide(settings)
    run_dir = create_run_dir(Path(settings.out), command=COMMAND)
    with _forgotten_if_interrupted(run_dir):
        tried = None if wants_batch else run_cures(terminal, decided.setup, run_dir, cures=cures, timeout_s=own.timeout)
        batch = run_max_batch(terminal, decided.setup, run_dir, timeout_s=own.timeout) if wants_batch else None
    result = CureRun(
        target=decided.setup.target,
        recorder=decided.setup.recorder,
        recorder_reason=decided.recorder_reason,
        card=decided.card,
        cures=tried,
        max_batch=batch,
        duration_s=time.perf_counter() - begin,
    )
    stored_in, run, unwritten = store(
        result, command=COMMAND, folder=run_dir.parent, settings=asdict(settings), run_dir=run_dir
    )
    show(terminal, run, stored_in, as_json=as_json)
    ending: LrtoolError | None = unwritten
    if tried is not None and tried.was_interrupted:
        ending = Interrupted("interrupted", hint="the cures that were tried by then are stored")
    if ending is not None:
        raise ending


def decide(settings: Settings) -> Decided:
    """Everything decided, and the target's arguments checked. Raises UsageError, WorkloadError, UnavailableError."""
    from lrtool.memory.recorders import choose_recorder
    from lrtool.memory.replay import Scenario, parse_scenario
    from lrtool.sweep.cure_reports import CureSetup
    from lrtool.target import load

    own, target = settings.cures, options.target_of(settings)
    card = card_to_predict_for(own.gpu)
    capacity_bytes, named = (None, None) if own.capacity is None else parse_capacity(own.capacity)
    load(target, params=settings.params)
    parse_scenario(Scenario(settings=own.settings))
    choice = choose_recorder(own.recorder, device=settings.device)
    if own.capacity is None and choice.recorder != "cuda":
        capacity_bytes, named = card.usable_bytes, card
    setup = CureSetup(
        target=target,
        params=dict(settings.params),
        recorder=choice.recorder,
        device=settings.device,
        gpu=card.name,
        capacity_bytes=capacity_bytes,
        seed=settings.seed,
        num_steps=own.steps,
        settings=own.settings,
        modules=own.checkpoint,
    )
    return Decided(setup=setup, recorder_reason=choice.reason, card=named.title if named else None)


def run_cures(
    terminal: Terminal, setup: "CureSetup", run_dir: Path, *, cures: "Sequence[Cure]", timeout_s: float | None = None
) -> "Cures":
    """Try cures, with a line for each as it ends. Raises WorkloadError where the workload cannot be run at all."""
    from lrtool.sweep.cure_trials import num_at_once, try_cures
    from lrtool.sweep.executors import SubprocessExecutor

    def tell(name: str, num_done: int, num_planned: int) -> None:
        terminal.note(f"cures: {num_done} of {num_planned} done, {name}")

    terminal.note(
        f"trying cures on {setup.target}, each in a process of its own: {setup.num_steps} steps, recorder {setup.recorder}"
    )
    with stdout_to_stderr():
        executor = SubprocessExecutor(slots=[{}] * num_at_once(setup), timeout_s=timeout_s)
        return try_cures(setup, run_dir / CURES_FOLDER, executor, cures=cures, on_trial=tell)


def run_max_batch(
    terminal: Terminal, setup: "CureSetup", run_dir: Path, *, timeout_s: float | None = None
) -> "MaxBatch":
    """Search the largest batch, with a line for each size. Raises UnavailableError without a capacity, WorkloadError."""
    from lrtool.sweep.executors import SubprocessExecutor
    from lrtool.sweep.max_batch import find_max_batch

    terminal.note(f"searching the largest batch of {setup.target}, recorder {setup.recorder}")
    with stdout_to_stderr():
        executor = SubprocessExecutor(timeout_s=timeout_s)
        folder = run_dir / BATCHES_FOLDER
        return find_max_batch(setup, folder, executor, on_try=lambda each: terminal.note(try_line(each)))


def try_line(each: "BatchTry") -> str:
    """A size that was tried, in one line."""
    peak = "" if each.peak_reserved_bytes is None else f", peak {format_bytes(each.peak_reserved_bytes)} reserved"
    return f"batch size {each.batch_size:,}: {'fits' if each.fits else 'does not fit'}{peak}, {each.recorder}"


@contextmanager
def _forgotten_if_interrupted(run_dir: Path) -> Iterator[None]:
    """A run of which nothing is known yet leaves no folder; where it failed, the trials' logs tell why, and are kept."""
    try:
        yield
    except KeyboardInterrupt:
        shutil.rmtree(run_dir, ignore_errors=True)
        raise Interrupted("interrupted", hint="no trial was finished yet") from None
