"""A sweep over simulated ranks in the terminal: what one rank takes, and what of it gets less as there are more of them."""

from rich import box
from rich.table import Table

from lrtool.results import MemSweep, Trial
from lrtool.units import format_bytes

COLUMNS = {
    "param.": ("parameter",),
    "grad.": ("gradient",),
    "optim.": ("optimizer state",),
    "buckets": ("gradient bucket", "communication buffer", "unsharded parameter"),
    "activ.": ("activation",),
}
"""Categories by column: this rank's part of what can be sharded, buffers for the exchange, and what cannot be sharded."""


def is_about_ranks(result: MemSweep) -> bool:
    return any(trial.condition.world_size is not None for trial in result.trials)


def scaling_table(result: MemSweep) -> Table:
    """One line for each number of ranks and way to shard: the most bytes per rank of each category, and the peaks."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column("ranks", justify="right", no_wrap=True)
    table.add_column("shard", no_wrap=True)
    for heading in (*COLUMNS, "peak alloc.", "reserved"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=8)
    for trial in sorted(result.trials, key=_place):
        table.add_row(*_row(trial), style="" if trial.status == "ok" else "red")
    return table


def _place(trial: Trial) -> tuple[str, int, int]:
    return trial.condition.shard, trial.condition.world_size or 1, trial.number


def _row(trial: Trial) -> list[str]:
    parts = [sum(trial.most_by_category.get(name, 0) for name in names) for names in COLUMNS.values()]
    known = parts if trial.most_by_category else [None] * len(parts)
    figures = (*known, trial.max_memory_allocated_bytes, trial.max_memory_reserved_bytes)
    status = "" if trial.status == "ok" else f" {trial.status}"
    return [
        f"{trial.condition.world_size or 1:,}",
        f"{trial.condition.shard}{status}",
        *("-" if each is None else format_bytes(each) for each in figures),
    ]
