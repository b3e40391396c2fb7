"""`lrtool replay`: a recorded allocation trace under other settings, on another card; read, replay, store, show."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrtool.cli import options
from lrtool.cli.gating import Budget, check_run, failure_of, open_budget
from lrtool.cli.invocation import Invocation, reads_settings
from lrtool.cli.options import option
from lrtool.config import Settings
from lrtool.errors import UsageError
from lrtool.units import count_of

if TYPE_CHECKING:
    from lrtool.cli.asked_file import AskedFile
    from lrtool.memory.replay.replay import Scenario
    from lrtool.memory.replay.scenarios import Place
    from lrtool.memory.trace.allocation_trace import AllocationTrace
    from lrtool.results import Replay


@reads_settings("replay")
def command(
    asked: Invocation,
    trace: Annotated[
        Path, typer.Argument(help="A torch.cuda.memory._dump_snapshot pickle, or JSON lines; either may be gzip'd.")
    ],
    *,
    per_op: Annotated[
        Path | None,
        option(
            "--per-op",
            help="Write one JSON line per request (status, where, stats) of the first row there, instead of a run.",
            panel="Replay",
            metavar="FILE",
        ),
    ] = None,
    check: options.Check = False,
    force: options.Force = False,
) -> None:
    """Replay an allocation trace: what would it reserve and lose elsewhere, and would it fit?

    Examples: lrtool replay snapshot.pickle --settings expandable_segments:True --capacity rtx4090 | lrtool replay
    trace.jsonl --min-capacity
    """
    from lrtool.cli.asked_file import asked_file
    from lrtool.memory.allocator.versions import parse_torch_version
    from lrtool.memory.gpus import parse_capacity
    from lrtool.memory.replay.replay import Scenario, recorded_settings
    from lrtool.memory.replay.scenarios import Place, replay_scenarios
    from lrtool.memory.snapshot.reader import read_trace

    rows = None if per_op is None else asked_file(per_op, option="--per-op", force=force, inputs=[trace])
    settings = asked.settings()
    own, budget = settings.replay, open_budget(settings.budget, runs=Path(settings.out)) if check else None
    base = Scenario(version=parse_torch_version(own.torch), no_caching=own.no_caching)
    places = [Place(capacity_bytes=size, card=card) for size, card in map(parse_capacity, own.capacity)] or [Place()]
    requests = read_trace(trace)
    own = replace(own, settings=own.settings or (recorded_settings(requests, base.version),))
    if rows is not None:
        _write_rows(rows, requests, base, own.settings, places)
        asked.terminal.note(f"wrote {count_of(len(requests), 'row')} to {per_op}")
        return
    result = replay_scenarios(requests, base=base, settings=own.settings, places=places, least=own.min_capacity)
    _finish(asked, result, replace(settings, replay=own), budget=budget)


def _finish(asked: Invocation, result: "Replay", settings: Settings, *, budget: Budget | None) -> None:
    """Store the result, show it, and raise what kept it from being stored, or what the check found."""
    from lrtool.cli.output import show_checked, store

    used = asdict(settings.replay)
    used.pop("min_capacity")
    run_dir, run, unwritten = store(result, command="replay", folder=Path(settings.out), settings=used)
    found = check_run(run, budget, run_dir=run_dir)
    show_checked(asked.terminal, run, run_dir, as_json=asked.as_json, check=found)
    ending = unwritten or failure_of(found, run, run_dir)
    if ending is not None:
        raise ending


def _write_rows(
    rows: "AskedFile", trace: "AllocationTrace", base: "Scenario", settings: Sequence[str], places: Sequence["Place"]
) -> None:
    from lrtool.memory.replay.timeline import per_op_rows

    if len(settings) > 1 or len(places) > 1:
        raise UsageError("--per-op is of one replay", hint="give one --settings and one --capacity with it")
    scenario = replace(base, settings=settings[0], capacity_bytes=places[0].capacity_bytes)
    with rows.opened() as file:
        for row in per_op_rows(trace, scenario):
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
