"""What more ranks do to the memory of each, in a sentence. Pure."""

from collections.abc import Sequence

from lrtool.results import Trial
from lrtool.sweep.wording import joined
from lrtool.units import format_bytes


def scaling_clause(trials: Sequence[Trial]) -> str | None:
    """Peak allocated memory per rank, by shard and number of ranks; None where none were simulated, or none ended well."""
    known = [t for t in trials if t.condition.world_size is not None and t.max_memory_allocated_bytes is not None]
    shards = dict.fromkeys(trial.condition.shard for trial in known)
    parts = [_of_shard([trial for trial in known if trial.condition.shard == shard]) for shard in shards]
    return f"at its peak a rank allocates {', '.join(parts)}" if parts else None


def _of_shard(trials: Sequence[Trial]) -> str:
    """From the fewest ranks to the most."""
    ordered = sorted(trials, key=lambda trial: trial.condition.world_size or 0)
    ends = [ordered[0], ordered[-1]] if len(ordered) > 1 else ordered
    name = {"none": "whole", "fsdp2": "under fsdp2"}[ordered[0].condition.shard]
    return f"{joined([_figure(trial) for trial in ends])} {name}"


def _figure(trial: Trial) -> str:
    died = " and dies of it" if trial.status == "oom" else ""
    return f"{format_bytes(trial.max_memory_allocated_bytes or 0)}{died} as one of {trial.condition.world_size:,}"
