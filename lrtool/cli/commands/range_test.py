"""`lrtool range-test`: measure, store, show."""

from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lrtool.cli import options
from lrtool.cli.console import Terminal, progress_of_ramp, stdout_to_stderr
from lrtool.cli.gating import check_run, failure_of, open_budget
from lrtool.cli.invocation import Invocation, reads_settings
from lrtool.cli.watched import points_of
from lrtool.config import Settings
from lrtool.errors import Interrupted, LrtoolError
from lrtool.settings_file import SettingsFile
from lrtool.units import count_of, format_lr
from lrtool.workload.distributed.launch import launch_of

if TYPE_CHECKING:
    from lrtool.lr.range_test import Outcome
    from lrtool.lr.source import Source


@reads_settings("range_test", target=options.Target)
def command(asked: Invocation, *, check: options.Check = False) -> None:
    """Find the learning-rate range to train with, by an exponential LR range test.

    Prints base_lr and max_lr for CyclicLR and OneCycleLR and a constant LR, and draws the curve.

    Examples: lrtool range-test digits | lrtool range-test model.py --param batch_size=128 --num-steps 400
    """
    run_range_test(asked.terminal, asked.settings(), file=asked.file, as_json=asked.as_json, check=check)


def run_range_test(
    terminal: Terminal, settings: Settings, *, file: SettingsFile, as_json: bool, check: bool = False
) -> None:
    """The command below its options. What was measured is stored and shown before what ended it is raised."""
    launch = launch_of()
    if launch is not None:
        from lrtool.cli.range_test_on_ranks import range_test_on_ranks

        range_test_on_ranks(terminal, settings, launch=launch, as_json=as_json)
        return
    from lrtool.cli.output import show_checked, store
    from lrtool.results.stored.run_dir import create_run_dir

    target = options.target_of(settings)
    budget = open_budget(settings.budget, runs=Path(settings.out)) if check else None
    with stdout_to_stderr():
        source = _source(settings, target)
        run_dir = create_run_dir(Path(settings.out), command="range-test")
        points = points_of(run_dir)
        _announce(terminal, settings, target, str(source.device), file)
        try:
            outcome = _measure(terminal, replace(source, observer=points), settings)
        except BaseException as failure:
            if points is not None and isinstance(failure, LrtoolError):
                points.discard()
            elif points is not None and points.kept_in.exists():  # a defect after the measurement
                terminal.note(f"the points are kept in {points.kept_in}")
            with suppress(OSError):
                run_dir.rmdir()
            raise
        stored_in, run, unwritten = store(
            outcome.result, command="range-test", folder=run_dir.parent, settings=asdict(settings), run_dir=run_dir
        )
        if points is not None and unwritten is None:
            points.discard()
        found = check_run(run, budget, run_dir=stored_in)
        show_checked(terminal, run, stored_in, as_json=as_json, check=found)
    error = _what_ended_it(outcome, run_dir) or unwritten or failure_of(found, run, stored_in)
    if error is not None:
        raise error


def _source(settings: Settings, target: str) -> "Source":
    from lrtool.lr.source import find_source

    return find_source(target, params=settings.params, device=settings.device)


def _measure(terminal: Terminal, source: "Source", settings: Settings) -> "Outcome":
    from lrtool.lr.range_test import run

    with progress_of_ramp(terminal) as show_ramp:
        return run(
            source,
            settings=settings.range_test,
            seed=settings.seed,
            on_progress=lambda p: show_ramp(p.step, p.num_steps, p.lr, p.loss, p.best_loss),
        )


def _what_ended_it(outcome: "Outcome", run_dir: Path) -> BaseException | None:
    from lrtool.lr.measure import as_error

    if outcome.error is None:
        return None
    error = as_error(outcome.error)
    kept = f"{outcome.result.num_steps} points are kept: lrtool report {run_dir}"
    if isinstance(error, LrtoolError):
        error.hint = f"{error.hint}; {kept}"
        return error
    is_of_the_test = outcome.result.stopped == "interrupted"
    return Interrupted(outcome.result.stop_reason if is_of_the_test else "interrupted after the test itself", hint=kept)


def _announce(terminal: Terminal, settings: Settings, target: str, device: str, file: SettingsFile) -> None:
    from lrtool.lr.halving import budget_steps
    from lrtool.lr.ramp import num_ramp_steps
    from lrtool.results.stored.secrets import masked

    ramp = settings.range_test
    given = "" if settings.target is not None else " (bundled; no target was given)"
    more = f", {ramp.repeats} times" if ramp.repeats > 1 else ""
    more += ", each parameter group alone first" if ramp.per_group else ""
    more += f", at {len(ramp.batch_size)} batch sizes" if len(ramp.batch_size) > 1 else ""
    more += (
        f", then at most {count_of(budget_steps(ramp.confirm), 'step')} of confirming runs"
        if ramp.confirm != "off"
        else ""
    )
    for name, value in masked(asdict(settings)).items() if terminal.verbose else ():
        terminal.note(f"  {name.replace('_', '-')} = {value}")
    terminal.note(
        f"range test of {target}{given} on {device}: {num_ramp_steps(ramp)} steps from {format_lr(ramp.start_lr)} "
        f"to {format_lr(ramp.end_lr)}{more}" + (f"; settings from {file.path}" if file.path else "")
    )
