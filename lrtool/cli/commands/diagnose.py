"""`lrtool diagnose`: why memory ran out, from a workload, a snapshot, or a finished run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrtool.cli import options
from lrtool.cli.invocation import Invocation, reads_settings
from lrtool.config import DiagnoseSettings
from lrtool.errors import Interrupted, UsageError
from lrtool.units import count_of

if TYPE_CHECKING:
    from lrtool.cli.console import Terminal
    from lrtool.config import Settings
    from lrtool.diagnosis.reports import DiagnosisSetup
    from lrtool.memory.gpus import Card
    from lrtool.results import Diagnosis
    from lrtool.settings_file import SettingsFile

COMMAND = "diagnose"
Target = Annotated[
    str | None,
    typer.Argument(
        help="A workload as in mem-sweep, or a finished run: its directory, number, or last. Without it: the one in the "
        "settings file, else digits.",
        show_default=False,
    ),
]


@reads_settings("diagnose", target=Target)
def command(
    asked: Invocation,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            "--snapshot",
            help="A torch.cuda.memory._dump_snapshot pickle (or JSON lines) to read, instead of a workload.",
            rich_help_panel="Diagnosis",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Find out why memory ran out, or would: the cause with its evidence, what cures it, and where the bytes are.

    Examples: lrtool diagnose model.py --capacity 24GiB --cures | lrtool diagnose --snapshot oom.pickle | lrtool diagnose last
    """
    target: str | None = asked.given.get("target")
    if snapshot is not None and target is not None:
        raise UsageError("--snapshot and a target do not go together", hint="give one of them")
    settings = asked.settings()
    is_run = target is not None and _is_run(target)
    if (asked.given.get("cures") or asked.given.get("max_batch")) and (snapshot is not None or is_run):
        raise UsageError(
            "cures and batches are tried on a workload", hint="name the workload: lrtool diagnose model.py"
        )
    if snapshot is not None:
        _read_snapshot(asked.terminal, snapshot, settings, as_json=asked.as_json)
    elif target is not None and is_run:
        _read_run(asked.terminal, target, settings, as_json=asked.as_json)
    else:
        _run_workload(asked.terminal, settings, file=asked.file, as_json=asked.as_json)


def _is_run(target: str) -> bool:
    """Whether a target means a finished run; a bundled workload or a file of that name comes first."""
    return target == "last" or target.isdecimal() or (Path(target) / "run.json").is_file()


def _read_snapshot(terminal: "Terminal", path: Path, settings: "Settings", *, as_json: bool) -> None:
    import os

    from lrtool.diagnosis.diagnose import diagnose_file
    from lrtool.memory.replay.replay import Scenario

    own = settings.diagnose
    capacity_bytes, card = _capacity(own)
    result = diagnose_file(
        path,
        Scenario(settings=own.settings, capacity_bytes=capacity_bytes),
        total_bytes=card.total_bytes if card else None,
        environment=os.environ,
    )
    _finish(terminal, result, settings, as_json=as_json)


def _read_run(terminal: "Terminal", name: str, settings: "Settings", *, as_json: bool) -> None:
    from lrtool.diagnosis.diagnose import diagnose_run
    from lrtool.results import Diagnosis, MemSweep
    from lrtool.results.stored.run_dir import open_run

    run_dir, run = open_run(name, parent=Path(settings.out))
    if isinstance(run.result, Diagnosis):
        from lrtool.cli.output import show

        show(terminal, run, run_dir, as_json=as_json)
        return
    if not isinstance(run.result, MemSweep):
        raise UsageError(
            f"{run_dir} is a run of `lrtool {run.command}`, which tells nothing of memory over steps",
            hint="give a run of mem-sweep or diagnose, or the workload itself",
        )
    _finish(terminal, diagnose_run(run_dir, run.result), settings, as_json=as_json)


def _run_workload(terminal: "Terminal", settings: "Settings", *, file: "SettingsFile", as_json: bool) -> None:
    from contextlib import suppress
    from dataclasses import replace
    from time import perf_counter

    from lrtool.cli.console import stdout_to_stderr
    from lrtool.cli.cure_run import with_cures
    from lrtool.cli.ranks import took_part
    from lrtool.diagnosis.diagnose import run_diagnosis
    from lrtool.diagnosis.ranks import diagnosis_of_ranks
    from lrtool.results.stored.run_dir import create_run_dir
    from lrtool.sweep.executors import begin_executor, executor_of
    from lrtool.sweep.executors.executor import Demand

    own, begin = settings.diagnose, perf_counter()
    if took_part(timeout_s=own.timeout):
        return
    begin_executor(own, recorder=own.recorder)
    with stdout_to_stderr():
        setup, reason, card = _planned(settings)
        terminal.note(
            f"diagnosis of {setup.target}: {count_of(own.steps, 'step')}, recorder {setup.recorder} ({reason})"
            + (f"; settings from {file.path}" if file.path else "")
        )
        demand = Demand(recorder=setup.recorder, device=settings.device, timeout_s=own.timeout)
        executor = executor_of(own, demand, together=diagnosis_of_ranks)
        run_dir = create_run_dir(Path(settings.out), command=COMMAND)
        trial = run_dir / "trials" / "001"
        try:
            result, was_interrupted = run_diagnosis(setup, trial, executor, reason=reason, card=card)
        except BaseException:
            with suppress(OSError):
                _remove(run_dir)
            raise
    interrupted: Interrupted | None = None
    if was_interrupted:
        interrupted = Interrupted("interrupted", hint="the diagnosis is stored; nothing else was tried")
    else:
        result, interrupted = with_cures(terminal, result, own, setup=setup, run_dir=run_dir)
    result = replace(result, duration_s=perf_counter() - begin)
    _finish(terminal, result, settings, as_json=as_json, run_dir=run_dir)
    if interrupted is not None:
        raise interrupted


def _planned(settings: "Settings") -> "tuple[DiagnosisSetup, str, str | None]":
    """What is to be run, why it is recorded so, and the title of the card it is judged for, if it is one's."""
    from lrtool.cli.cure_run import check_cures
    from lrtool.diagnosis.reports import DiagnosisSetup
    from lrtool.memory.gpus import known_card
    from lrtool.memory.recorders.choose import choose_recorder
    from lrtool.results import is_measured
    from lrtool.workload.target import load

    own, target = settings.diagnose, options.target_of(settings)
    load(target, params=settings.params)
    _check_settings(own.settings)
    check_cures(own)
    card = known_card(own.gpu)
    choice = choose_recorder(own.recorder, device=settings.device)
    capacity_bytes, named = _capacity(own)
    if own.capacity is None and not is_measured(choice.recorder):
        capacity_bytes, named = card.usable_bytes, card
    setup = DiagnosisSetup(
        target=target, params=settings.params, recorder=choice.recorder, device=settings.device, gpu=card.name,
        capacity_bytes=capacity_bytes, seed=settings.seed, num_steps=own.steps, settings=own.settings,
        gpus=own.gpus, evaluate=own.evaluate,
    )  # fmt: skip
    return setup, choice.reason, named.title if named else None


def _finish(
    terminal: "Terminal", result: "Diagnosis", settings: "Settings", *, as_json: bool, run_dir: Path | None = None
) -> None:
    """Store the result, show it, and raise what kept it from being stored."""
    from dataclasses import asdict

    from lrtool.cli.output import show, store

    run_dir, run, unwritten = store(
        result, command=COMMAND, folder=Path(settings.out), settings=asdict(settings), run_dir=run_dir
    )
    show(terminal, run, run_dir, as_json=as_json)
    if unwritten is not None:
        raise unwritten


def _capacity(own: DiagnoseSettings) -> "tuple[int | None, Card | None]":
    from lrtool.memory.gpus import parse_capacity

    return (None, None) if own.capacity is None else parse_capacity(own.capacity)


def _check_settings(conf: str) -> None:
    from lrtool.memory.replay.replay import Scenario, parse_scenario

    parse_scenario(Scenario(settings=conf))


def _remove(run_dir: Path) -> None:
    """A run directory in which nothing was finished; its log goes with it, the error tells what it says."""
    import shutil

    shutil.rmtree(run_dir)
