"""What the ranks of a run that was spread over several processes used of memory, each and against each other."""

from dataclasses import dataclass
from typing import Literal

from lrtool.results.checks import Count, Ratio, Size

Wrapping = Literal["ddp", "own ddp", "fsdp1", "fsdp2", "own sharding", "none"]
"""Who shares what between the ranks: "ddp" is DistributedDataParallel put there by lrtool, the others are the user's."""
MemoryFigure = Literal["peak_reserved_bytes", "peak_resident_bytes"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RankMemory:
    """The most that one rank held, in bytes: of its GPU, and of its machine's memory; None where it did not say."""

    rank: Count
    device: str
    peak_allocated_bytes: Count | None
    peak_reserved_bytes: Count | None
    peak_resident_bytes: Count | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """All ranks of a run. Largest, smallest and `imbalance` (1 - smallest / largest) are those of `figure`.

    `bucket_bytes` are the copies of all gradients that DistributedDataParallel averages, on every rank. `failed_rank` is
    the one that ended the run.
    """

    world_size: Size
    backend: str
    wrapping: Wrapping
    bucket_bytes: Count
    note: str | None
    failed_rank: Count | None
    figure: MemoryFigure
    max_bytes: Count | None
    max_rank: Count | None
    min_bytes: Count | None
    min_rank: Count | None
    imbalance: Ratio | None
    memory: tuple[RankMemory, ...]


def compare_ranks(
    memory: tuple[RankMemory, ...],
    *,
    backend: str,
    wrapping: Wrapping,
    bucket_bytes: int = 0,
    note: str | None = None,
    failed_rank: int | None = None,
) -> Ranks:
    """The ranks against each other: by what they reserved on their GPUs, else by what they held of their machine's memory."""
    on_gpu = any(each.peak_reserved_bytes is not None for each in memory)
    figure: MemoryFigure = "peak_reserved_bytes" if on_gpu else "peak_resident_bytes"
    known = {each.rank: value for each in memory if (value := getattr(each, figure)) is not None}
    largest = max(known, key=lambda rank: known[rank], default=None)
    smallest = min(known, key=lambda rank: known[rank], default=None)
    most, least = known.get(largest), known.get(smallest)  # type: ignore[arg-type]
    return Ranks(
        world_size=len(memory),
        backend=backend,
        wrapping=wrapping,
        bucket_bytes=bucket_bytes,
        note=note,
        failed_rank=failed_rank,
        figure=figure,
        max_bytes=most,
        max_rank=largest,
        min_bytes=least,
        min_rank=smallest,
        imbalance=1 - least / most if most and least is not None else None,
        memory=memory,
    )
