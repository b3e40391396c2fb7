"""`lrtool mem-sweep`: plan the trials, run each in a process of its own, store, show."""

from typing import Annotated, Any

import typer

from lrtool.cli import options
from lrtool.cli.invocation import Invocation, reads_settings
from lrtool.config import MemSweepSettings
from lrtool.errors import UsageError

STEPS_OF_RANKS = 3
NOT_OF_THE_PLAN = {"out", "jobs", "timeout", "executor", "ray_address", "trial_cpus", "trial_memory"}
"""The settings that may be others when a sweep goes on."""


@reads_settings("mem_sweep", target=options.Target)
def command(
    asked: Invocation,
    *,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            help="A run (directory, number, last) whose missing, killed or interrupted trials to run.",
            rich_help_panel="Trials",
        ),
    ] = None,
    check: options.Check = False,
) -> None:
    """Find out how much memory training uses, and whether the schedule's step size or another setting matters.

    One trial per step size, each in a process of its own. Without a GPU the figures are predicted.

    Examples: lrtool mem-sweep model.py --step-sizes 2500,3000,3500 --capacity 24GiB | lrtool mem-sweep --resume last
    """
    from lrtool.cli.sweep_run import resume_sweep, start_sweep

    if resume is not None:
        _refuse_with_resume(asked.given)
        resume_sweep(asked.terminal, resume, asked.settings(), as_json=asked.as_json, check=check)
        return
    settings = asked.settings(**_about_ranks(asked))
    start_sweep(asked.terminal, settings, file=asked.file, as_json=asked.as_json, check=check)


def _about_ranks(asked: Invocation) -> dict[str, Any]:
    """Over ranks neither the schedule nor the length of a run is in question: one step size, and as many steps as it
    takes until the optimizer has its state and DDP its final buckets, unless something else was asked for.
    """
    if "world_size" not in asked.given:
        return {}
    chosen = {"steps", "step_sizes", "cycles"} & {*asked.given, *asked.file.values.get("mem_sweep", {})}
    defaults: dict[str, Any] = {} if "step_sizes" in chosen else {"step_sizes": MemSweepSettings().step_sizes[:1]}
    return defaults if chosen else {**defaults, "steps": STEPS_OF_RANKS}


def _refuse_with_resume(given: dict[str, Any]) -> None:
    for name in (name for name in given if name not in NOT_OF_THE_PLAN):
        shown = {"target": "a target", "params": "--param"}.get(name, f"--{name.replace('_', '-')}")
        raise UsageError(
            f"--resume and {shown} do not go together",
            hint="a resumed sweep goes on as it was planned: leave it out",
        )
