"""`lrtool cures`: what takes less memory, measured on the user's own model, and the largest batch that fits."""

from pathlib import Path
from typing import Annotated

import typer

from lrtool.cli import options
from lrtool.cli.console import open_terminal
from lrtool.cli.options import axis, option
from lrtool.config import find_settings_file, read_settings_file, resolve, search_start

PANEL = "Cures"
NAMES = "bf16, checkpointing, accumulation, half-batch, foreach-off, fused, set-to-none, 8-bit, small-state, ..."


def command(
    target: options.Target = None,
    param: options.Param = None,
    device: options.Device = None,
    seed: options.Seed = None,
    config: options.ConfigFile = None,
    max_batch: Annotated[
        bool,
        typer.Option("--max-batch", help="Search the largest batch that fits, instead.", rich_help_panel=PANEL),
    ] = False,
    only: Annotated[
        str | None, option("--only", help=f"The cures to try: {NAMES} Default: all.", panel=PANEL, metavar="NAMES")
    ] = None,
    checkpoint: Annotated[
        str | None,
        option(
            "--checkpoint",
            help="Modules to checkpoint, by name or pattern (encoder.layers.*). Default: repeated blocks, found.",
            panel=PANEL,
            metavar="MODULES",
        ),
    ] = None,
    steps: Annotated[int | None, option("--steps", help="Steps of every trial.", panel=PANEL, default=5)] = None,
    settings: Annotated[
        str | None,
        option("--settings", help="PYTORCH_CUDA_ALLOC_CONF that is set already. Default: torch's own.", panel=PANEL),
    ] = None,
    recorder: Annotated[
        str | None,
        option(
            "--recorder",
            help="auto, cuda (measured), predicted (traced without a GPU) or cpu (a real run there).",
            panel=PANEL,
            default="auto",
        ),
    ] = None,
    gpu: Annotated[
        str | None, option("--gpu", help="The card to predict for: h100, rtx4090 ...", panel=PANEL, default="h100")
    ] = None,
    capacity: Annotated[
        str | None, option("--capacity", help="Memory there is: 24GiB, or a card. Default: --gpu's.", panel=PANEL)
    ] = None,
    timeout: Annotated[
        float | None, option("--timeout", help="Seconds after which a trial is ended. Default: none.", panel=PANEL)
    ] = None,
    out: options.Out = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.ColorChoice = "auto",
) -> None:
    """Try what may save memory, each cure as a trial of its own, then the best together: bytes, time, loss, and how.

    Examples: lrtool cures model.py --capacity 24GiB | lrtool cures model.py --gpu rtx4090 --max-batch
    """
    from lrtool.cli.cure_run import start_cures

    terminal = open_terminal(color=options.color(color), quiet=quiet, verbose=verbose)
    given = {
        "target": target,
        "params": options.parse_params(param) or None,
        "device": device,
        "seed": seed,
        "only": axis(only),
        "checkpoint": axis(checkpoint),
        "steps": steps,
        "settings": settings,
        "recorder": recorder,
        "gpu": gpu,
        "capacity": capacity,
        "timeout": timeout,
        "out": out,
    }
    file = read_settings_file(Path(config)) if config else find_settings_file(search_start(target))
    resolved = resolve(file, command="cures", options=given)
    start_cures(terminal, resolved, wants_batch=max_batch, as_json=as_json)
