"""How figures of a sweep are said in its sentences."""

from collections.abc import Sequence

from lrtool.results import Trial
from lrtool.results.schedules import shown_setting
from lrtool.units import format_bytes, plural, three_digits

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count(number: int, noun: str) -> str:
    """ "three runs", "one run", "24 runs"."""
    word = _WORDS[number] if number < len(_WORDS) else str(number)
    return f"{word} {plural(number, noun)}"


def joined(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def bytes_per_step(rate: float) -> str:
    """ "3.58 MiB per step"; below ten bytes with the digits behind the point."""
    return f"{format_rate(rate)} per step"


def format_rate(rate: float) -> str:
    """A rate in bytes, which need not be whole."""
    return f"{three_digits(rate)} B" if 0 < abs(rate) < 10 and rate != round(rate) else format_bytes(round(rate))


def at_step(step: int) -> str:
    """ "at step 6,716"; step 0 is the build."""
    return f"at step {step:,}" if step else "before the first step"


def shown_value(value: object) -> str:
    """A value on an axis; "default" where nothing was set."""
    return "default" if value in ("", None) else shown_setting(value)


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
    ending = " and runs out of memory" if trial.status == "oom" else ""
    return f"{format_bytes(trial.max_memory_allocated_bytes or 0)}{ending} as one of {trial.condition.world_size:,}"
