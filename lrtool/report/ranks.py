"""The ranks of a run as a table, how the run was spread over them, and who used most and least."""

from rich.console import RenderableType

from lrtool.report.grid import Column, Grid, Row, labelled, numbers
from lrtool.report.parts import known_bytes, percent
from lrtool.results import RankMemory, Ranks, Wrapping
from lrtool.units import format_bytes

FIGURES = {
    "peak_allocated_bytes": "peak allocated",
    "peak_reserved_bytes": "peak reserved",
    "peak_resident_bytes": "peak host memory",
}
WRAPPING: dict[Wrapping, str] = {
    "ddp": "DistributedDataParallel by lrtool",
    "own ddp": "the workload's own DistributedDataParallel",
    "fsdp1": "the workload's own FSDP",
    "fsdp2": "the workload's own fully_shard",
    "own sharding": "the workload's own sharding",
    "none": "not split",
}
MAX_ROWS = 16


def rank_lines(ranks: Ranks) -> list[RenderableType]:
    """A table of the ranks, how the run was spread over them, and who used most and least."""
    buckets = f", gradient buckets of {format_bytes(ranks.bucket_bytes)}" if ranks.bucket_bytes else ""
    rows = [("spread", f"{ranks.world_size} ranks over {ranks.backend}; {WRAPPING[ranks.wrapping]}{buckets}")]
    if ranks.max_bytes is not None and ranks.min_bytes is not None:
        rows.append(
            (
                "memory",
                f"{FIGURES[ranks.figure]}: most {format_bytes(ranks.max_bytes)} on rank {ranks.max_rank}, "
                f"least {format_bytes(ranks.min_bytes)} on rank {ranks.min_rank}, imbalance {percent(ranks.imbalance)}",
            )
        )
    if ranks.note:
        rows.append(("note", ranks.note))
    return [_table(ranks), "", labelled(rows)]


def _table(ranks: Ranks) -> Grid:
    known = {name: title for name, title in FIGURES.items() if any(getattr(each, name) for each in ranks.memory)}
    rows = []
    for each in _shown(ranks):
        has_failed = each.rank == ranks.failed_rank
        device = f"{each.device}, failed" if has_failed else each.device
        figures = (known_bytes(getattr(each, name)) for name in known)
        rows.append(Row(cells=(str(each.rank), device, *figures), tone="bad" if has_failed else "plain"))
    return Grid(columns=(*numbers("rank"), Column(heading="device"), *numbers(*known.values())), rows=tuple(rows))


def _shown(ranks: Ranks) -> list[RankMemory]:
    """Of many ranks the first ones, and those that stand out."""
    remarkable = (ranks.failed_rank, ranks.max_rank, ranks.min_rank)
    first = sorted(ranks.memory, key=lambda each: each.rank not in remarkable)[:MAX_ROWS]
    return sorted(first, key=lambda each: each.rank)
