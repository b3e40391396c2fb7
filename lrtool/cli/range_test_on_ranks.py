"""`lrtool range-test` under torchrun: all ranks measure, the first one stores and shows what came of it."""

from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from lrtool.cli import options
from lrtool.cli.console import Terminal, progress_of_ramp, stdout_to_stderr
from lrtool.cli.output import show, store
from lrtool.config import Settings
from lrtool.errors import LrtoolError, UnavailableError, UsageError
from lrtool.lr.curve.rules import compared
from lrtool.lr.measure import Measurement, measure
from lrtool.lr.ramp import num_ramp_steps
from lrtool.lr.range_test import conclude, suggestion_of
from lrtool.lr.source import Source, find_source
from lrtool.results import RangeTest, compare_ranks
from lrtool.results.stored.run_dir import create_run_dir
from lrtool.workload.distributed.failures import RankFailure
from lrtool.workload.distributed.launch import Launch
from lrtool.workload.distributed.team import Team, joined


def range_test_on_ranks(terminal: Terminal, settings: Settings, *, launch: Launch, as_json: bool) -> None:
    """The command on one rank. Raises, on the first one, what ended the run; the others leave in silence."""
    _refuse_what_ranks_do_not_share(settings)
    with stdout_to_stderr(), joined(launch, device=settings.device, timeout_s=settings.range_test.timeout) as team:
        try:
            ended = _on_rank(terminal, settings, team, as_json=as_json)
        finally:
            team.leave()
    if ended is not None and launch.is_first:
        raise ended


def _refuse_what_ranks_do_not_share(settings: Settings) -> None:
    ramp = settings.range_test
    given = {"--confirm": ramp.confirm != "off", "--per-group": ramp.per_group, "--batch-size": bool(ramp.batch_size)}
    for name in (name for name, is_given in given.items() if is_given):
        raise UsageError(
            f"{name} does not go with torchrun", hint="a ramp is all that ranks share; run it on one process"
        )


def _on_rank(terminal: Terminal, settings: Settings, team: Team, *, as_json: bool) -> LrtoolError | None:
    """What ended the run early; what was measured by then is stored and shown."""
    run_dir: Path | None = None
    try:
        run_dir = create_run_dir(Path(settings.out), command="range-test") if team.launch.is_first else None
        with team.watch:
            measurement = _measure(terminal, settings, team)
    except BaseException as error:
        told = team.watch.tell(error)
        if run_dir is not None:
            with suppress(OSError):
                run_dir.rmdir()
        return error if isinstance(error, UsageError | UnavailableError) else told.as_error()
    failure = None if measurement.error is None else team.watch.tell(measurement.error)
    if run_dir is None:
        team.say_memory()
        return None
    result = _result(measurement, team, failure, target=options.target_of(settings))
    result = compared(result, settings.range_test.rules, num_planned=num_ramp_steps(settings.range_test))
    stored_in, run, unwritten = store(
        result, command="range-test", folder=run_dir.parent, settings=asdict(settings), run_dir=run_dir
    )
    show(terminal, run, stored_in, as_json=as_json)
    return unwritten if failure is None else _kept(failure.as_error(), result, run_dir)


def _measure(terminal: Terminal, settings: Settings, team: Team) -> Measurement:
    target = options.target_of(settings)
    source: Source = replace(find_source(target, params=settings.params, device=str(team.device)), team=team)
    terminal.note(
        f"range test of {target} on {team.launch.world_size} ranks, {team.backend}, the first on {team.device}"
    )
    with progress_of_ramp(terminal) as show_ramp:
        return measure(
            source,
            settings=settings.range_test,
            seed=settings.seed,
            on_progress=lambda p: show_ramp(p.step, p.num_steps, p.lr, p.loss, p.best_loss),
        )


def _result(measurement: Measurement, team: Team, failure: RankFailure | None, *, target: str) -> RangeTest:
    memory = team.gather_memory()
    result = conclude(measurement, suggestion_of(measurement), None, target=target)
    distributed = team.distributed
    assert distributed is not None
    ranks = compare_ranks(
        memory,
        backend=team.backend,
        wrapping=distributed.wrapping,
        bucket_bytes=distributed.bucket_bytes,
        note=distributed.note,
        failed_rank=None if failure is None else failure.rank,
    )
    reason = result.stop_reason if failure is None else failure.as_error().message
    return replace(result, ranks=ranks, stop_reason=reason)


def _kept(error: LrtoolError, result: RangeTest, run_dir: Path) -> LrtoolError:
    error.hint = f"{error.hint}; {result.num_steps} points are kept: lrtool report {run_dir}"
    return error
