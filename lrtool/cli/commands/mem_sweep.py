"""`lrtool mem-sweep`: plan the trials, run each in a process of its own, store, show."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrtool.cli import options
from lrtool.cli.console import open_terminal
from lrtool.cli.options import axis, option
from lrtool.config import MemSweepSettings, find_settings_file, read_settings_file, resolve, search_start
from lrtool.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIED = "Varied: several values, separated by commas, give a trial each"
TRIALS = "Trials"
CLUSTER = "Cluster"
DEFAULT = MemSweepSettings()
STEPS_OF_RANKS = 3
NOT_WITH_RESUME = "a resumed sweep goes on as it was planned"


def command(
    target: options.Target = None,
    param: options.Param = None,
    device: options.Device = None,
    seed: options.Seed = None,
    config: options.ConfigFile = None,
    step_sizes: Annotated[
        str | None,
        option("--step-sizes", help="CyclicLR's step_size_up.", panel=VARIED, default="2500,3000,3500"),
    ] = None,
    step_size_down: Annotated[
        str | None, option("--step-size-down", help="CyclicLR's step_size_down. Default: step_size_up.", panel=VARIED)
    ] = None,
    schedule: Annotated[
        str | None, option("--schedule", help="cyclic, onecycle or constant.", panel=VARIED, default="cyclic")
    ] = None,
    mode: Annotated[
        str | None, option("--mode", help="triangular, triangular2 or exp_range.", panel=VARIED, default="triangular")
    ] = None,
    gamma: Annotated[str | None, option("--gamma", help="Of exp_range.", panel=VARIED, default="1.0")] = None,
    scale_mode: Annotated[
        str | None, option("--scale-mode", help="cycle or iterations.", panel=VARIED, default="cycle")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--settings",
            help="PYTORCH_CUDA_ALLOC_CONF, as it is written; repeatable: a trial each. Default: torch's own.",
            rich_help_panel=VARIED,
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str | None, option("--precision", help="fp32, bf16 or fp16. Default: the workload's.", panel=VARIED)
    ] = None,
    batch_size: Annotated[
        str | None, option("--batch-size", help="As --param batch_size=... . Default: build()'s.", panel=VARIED)
    ] = None,
    world_size: Annotated[
        str | None,
        option(
            "--world-size", help="Simulated ranks: what one of so many takes, predicted without them.", panel=VARIED
        ),
    ] = None,
    shard: Annotated[
        str | None,
        option("--shard", help="With --world-size: none (DDP) or fsdp2 (fully_shard).", panel=VARIED, default="none"),
    ] = None,
    cycles: Annotated[
        int | None, option("--cycles", help="Cycles in a trial, up and down again.", panel=TRIALS, default=1)
    ] = None,
    steps: Annotated[
        int | None, option("--steps", help="Steps of every trial, instead of whole cycles.", panel=TRIALS)
    ] = None,
    repeats: Annotated[
        int | None, option("--repeats", help="Trials of each condition.", panel=TRIALS, default=1)
    ] = None,
    order: Annotated[
        str | None, option("--order", help="shuffled (by --seed) or given.", panel=TRIALS, default="shuffled")
    ] = None,
    base_lr: Annotated[
        float | None,
        option("--base-lr", help="Default: of the last range test of the target, else the optimizer's.", panel=TRIALS),
    ] = None,
    max_lr: Annotated[float | None, option("--max-lr", help="Default: likewise.", panel=TRIALS)] = None,
    recorder: Annotated[
        str | None,
        option(
            "--recorder",
            help="auto, cuda (measured), predicted (traced without a GPU) or cpu (a real run there).",
            panel=TRIALS,
            default="auto",
        ),
    ] = None,
    gpu: Annotated[
        str | None, option("--gpu", help="The card to predict for: h100, rtx4090 ...", panel=TRIALS, default="h100")
    ] = None,
    capacity: Annotated[
        str | None, option("--capacity", help="Memory there is: 24GiB, or a card. Default: --gpu's.", panel=TRIALS)
    ] = None,
    history: Annotated[
        str | None, option("--history", help="Steps whose allocations are kept in a snapshot, on CUDA.", panel=TRIALS)
    ] = None,
    jobs: Annotated[
        int | None, option("--jobs", help="Trials at once; on CUDA one per GPU.", panel=TRIALS, default=1)
    ] = None,
    timeout: Annotated[
        float | None, option("--timeout", help="Seconds after which a trial is ended. Default: none.", panel=TRIALS)
    ] = None,
    executor: Annotated[
        str | None,
        option("--executor", help="Where trials run: subprocess (here) or ray.", panel=CLUSTER, default="subprocess"),
    ] = None,
    ray_address: Annotated[
        str | None,
        option(
            "--ray-address",
            help="Of a Ray cluster; auto: that of this machine. Default: one started for the sweep.",
            panel=CLUSTER,
        ),
    ] = None,
    trial_cpus: Annotated[
        float | None, option("--trial-cpus", help="CPUs a trial takes of its node.", panel=CLUSTER, default=1.0)
    ] = None,
    trial_memory: Annotated[
        str | None,
        option("--trial-memory", help="Memory a trial takes of its node: 8GiB. Default: any.", panel=CLUSTER),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", help="A run (directory, number, last) whose missing trials to run.", rich_help_panel=TRIALS
        ),
    ] = None,
    check: options.Check = False,
    out: options.Out = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.ColorChoice = "auto",
) -> None:
    """Find out how much memory training takes, and whether the schedule's step size or another setting matters.

    One trial per step size, each in a process of its own. Without a GPU the figures are predicted.

    Examples: lrtool mem-sweep model.py --step-sizes 2500,3000,3500 --capacity 24GiB | lrtool mem-sweep --resume last
    """
    from lrtool.cli.sweep_run import resume_sweep, start_sweep

    terminal = open_terminal(color=options.color(color), quiet=quiet, verbose=verbose)
    planned: dict[str, Any] = {
        "target": target,
        "params": options.parse_params(param) or None,
        "device": device,
        "seed": seed,
        "step_sizes": axis(step_sizes, int),
        "step_size_down": axis(step_size_down, int),
        "schedule": axis(schedule),
        "mode": axis(mode),
        "gamma": axis(gamma, float),
        "scale_mode": axis(scale_mode),
        "settings": settings or None,
        "precision": axis(precision),
        "batch_size": axis(batch_size, int),
        "world_size": axis(world_size, int),
        "shard": axis(shard),
        "cycles": cycles,
        "steps": steps,
        "repeats": repeats,
        "order": order,
        "base_lr": base_lr,
        "max_lr": max_lr,
        "recorder": recorder,
        "gpu": gpu,
        "capacity": capacity,
        "history": axis(history, int),
    }
    now = {
        "out": out,
        "jobs": jobs,
        "timeout": timeout,
        "executor": executor,
        "ray_address": ray_address,
        "trial_cpus": trial_cpus,
        "trial_memory": trial_memory,
    }
    file = read_settings_file(Path(config)) if config else find_settings_file(search_start(target))
    if resume is not None:
        _refuse_with_resume(planned)
        resume_sweep(terminal, resume, resolve(file, command="mem_sweep", options=now), as_json=as_json, check=check)
        return
    if world_size is not None:
        planned |= _about_ranks(planned, file.values.get("mem_sweep", {}))
    resolved = resolve(file, command="mem_sweep", options={**planned, **now})
    start_sweep(terminal, resolved, file=file, as_json=as_json, check=check)


def _about_ranks(planned: "Mapping[str, Any]", in_file: "Mapping[str, Any]") -> dict[str, Any]:
    """Over ranks neither the schedule nor the length of a run is in question: one step size, and as many steps as it
    takes until the optimizer has its state and DDP its final buckets, unless something else was asked for.
    """
    asked = {name for name in ("steps", "step_sizes", "cycles") if planned[name] is not None or name in in_file}
    defaults: dict[str, Any] = {} if "step_sizes" in asked else {"step_sizes": list(DEFAULT.step_sizes[:1])}
    return defaults if asked else {**defaults, "steps": STEPS_OF_RANKS}


def _refuse_with_resume(planned: "Mapping[str, Any]") -> None:
    given = [name for name, value in planned.items() if value is not None]
    if given:
        name = {"target": "a target", "params": "--param"}.get(given[0], f"--{given[0].replace('_', '-')}")
        raise UsageError(f"--resume and {name} do not go together", hint=f"{NOT_WITH_RESUME}: leave it out")
