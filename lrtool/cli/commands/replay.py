"""`lrtool replay`: a recorded allocation stream under other settings, on another card; read, replay, store, show."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrtool.cli import options
from lrtool.cli.console import open_terminal
from lrtool.cli.gating import check_run, failure_of, open_budget
from lrtool.cli.options import option
from lrtool.config import find_settings_file, resolve
from lrtool.errors import UsageError

if TYPE_CHECKING:
    from lrtool.memory.replay.replay import Scenario
    from lrtool.memory.replay.what_if import Place
    from lrtool.memory.trace.allocation_trace import AllocationTrace

PANEL = "Replay"
DEFAULT_VERSION = "2.15"


def command(
    trace: Annotated[
        Path, typer.Argument(help="A torch.cuda.memory._dump_snapshot pickle, or JSON lines; either may be gzip'd.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--settings",
            help="PYTORCH_CUDA_ALLOC_CONF to replay under, as it is written; repeatable: one row each. "
            "Default: torch's own.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    capacity: Annotated[
        list[str] | None,
        typer.Option(
            "--capacity",
            help="24GiB, or a card: rtx4090, a100-40, h100 ...; repeatable. Default: as large as it takes.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    torch: Annotated[
        str, option("--torch", help="Whose allocator: 2.0 to 2.15.", panel=PANEL, default=DEFAULT_VERSION)
    ] = DEFAULT_VERSION,
    no_caching: Annotated[
        bool, option("--no-caching", help="As with PYTORCH_NO_CUDA_MEMORY_CACHING=1.", panel=PANEL)
    ] = False,
    min_capacity: Annotated[
        bool, option("--min-capacity", help="Search the smallest capacity that survives.", panel=PANEL)
    ] = False,
    per_op: Annotated[
        Path | None,
        option(
            "--per-op",
            help="Write one JSON line per request (status, where, stats) of the first row there, instead of a run.",
            panel=PANEL,
            metavar="FILE",
        ),
    ] = None,
    check: options.Check = False,
    out: options.Out = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.ColorChoice = "auto",
) -> None:
    """Replay an allocation stream: what would it reserve and lose elsewhere, and would it have died?

    Examples: lrtool replay snapshot.pickle --settings expandable_segments:True --capacity rtx4090 | lrtool replay
    trace.jsonl --min-capacity
    """
    from lrtool.cli.output import show_checked, store
    from lrtool.memory.allocator.versions import parse_torch_version
    from lrtool.memory.gpus import parse_capacity
    from lrtool.memory.replay.replay import Scenario
    from lrtool.memory.replay.what_if import Place, ask
    from lrtool.memory.snapshot.reader import read_trace

    terminal = open_terminal(color=options.color(color), quiet=quiet, verbose=verbose)
    resolved = resolve(find_settings_file(Path.cwd()), command="range_test", options={"out": out})
    folder = Path(resolved.out)
    budget = open_budget(resolved.budget, runs=folder) if check else None
    base = Scenario(version=parse_torch_version(torch), no_caching=no_caching)
    places = [Place(capacity_bytes=size, card=card) for size, card in map(parse_capacity, capacity or [])] or [Place()]
    stream = read_trace(trace)
    texts = settings or [stream.recorded_settings or ""]
    if per_op is not None:
        _write_rows(per_op, stream, base, texts, places)
        terminal.note(f"wrote {len(stream)} rows to {per_op}")
        return
    result = ask(stream, base=base, settings=texts, places=places, least=min_capacity)
    asked = {"settings": texts, "capacity": capacity or [], "torch": torch, "no_caching": no_caching}
    run_dir, run, unwritten = store(result, command="replay", folder=folder, settings=asked)
    found = check_run(run, budget, run_dir=run_dir)
    show_checked(terminal, run, run_dir, as_json=as_json, check=found)
    ending = unwritten or failure_of(found, run, run_dir)
    if ending is not None:
        raise ending


def _write_rows(
    path: Path, stream: "AllocationTrace", base: "Scenario", settings: Sequence[str], places: Sequence["Place"]
) -> None:
    from dataclasses import replace

    from lrtool.memory.replay.timeline import per_op_rows
    from lrtool.results.run_dir import atomic_text

    if len(settings) > 1 or len(places) > 1:
        raise UsageError("--per-op is of one replay", hint="give one --settings and one --capacity with it")
    scenario = replace(base, settings=settings[0], capacity_bytes=places[0].capacity_bytes)
    with atomic_text(path) as file:
        for row in per_op_rows(stream, scenario):
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
