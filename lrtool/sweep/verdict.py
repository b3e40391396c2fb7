"""The verdict over a sweep, in one sentence: does the step size matter, does memory grow, and when is it full."""

from collections.abc import Iterator, Mapping, Sequence

from lrtool.results import Recorder, StepSeries, Trial, Verdict
from lrtool.sweep.comparison import (
    Difference,
    Effect,
    between_repeats,
    between_step_sizes,
    differing_axes,
    effects,
    groups,
    largest,
)
from lrtool.sweep.evidence import Findings, evidence_lines
from lrtool.sweep.trend import Trend, oom_step, trend_of
from lrtool.sweep.wording import bytes_per_step, count, joined, scaling_clause, shown_value
from lrtool.units import format_bytes

EQUIVALENCE_SHARE = 0.01
"""Without repeats noise is not known: runs closer than this share of their peak count as equal."""
HOW_KNOWN: dict[Recorder, str] = {"cuda": "Measured", "predicted": "Predicted", "cpu": "Predicted from a CPU run"}


def conclude_sweep(trials: Sequence[Trial], series: Mapping[int, StepSeries], *, capacity_bytes: int | None) -> Verdict:
    """What the trials say together; `series` holds the steps of those that have any, by trial number."""
    trials = sorted(trials, key=lambda trial: trial.number)
    found = _findings(trials, series, capacity_bytes)
    trend, difference, noise = found.trend, found.difference, found.noise
    return Verdict(
        text=_sentence(found),
        step_size_matters=_matters(difference, noise),
        max_abs_difference_at_equal_steps_bytes=difference.bytes if difference else None,
        noise_bytes=noise.bytes if noise else None,
        growth_bytes_per_step=trend.growth.bytes_per_step if trend and trend.growth else None,
        growth_source=trend.sources[0].text if trend and trend.sources else None,
        forecast_step=trend.forecast_step if trend else None,
        ends_before=_step_sizes(trend.ends_before) if trend else (),
        ends_after=_step_sizes(trend.ends_after) if trend else (),
        evidence=evidence_lines(found, trials, series),
    )


def _findings(trials: Sequence[Trial], series: Mapping[int, StepSeries], capacity_bytes: int | None) -> Findings:
    pairs = between_step_sizes(trials, series)
    trends = [trend_of(group, series, capacity_bytes=capacity_bytes) for group in groups(trials)]
    return Findings(
        recorder=trials[0].recorder if trials else None,
        pairs=tuple(pairs),
        difference=largest(pairs),
        noise=largest(between_repeats(trials, series)),
        effects=tuple(effects(trials, series)),
        trend=min(trends, key=_urgency, default=None),
        trends=tuple(trends),
        capacity_bytes=capacity_bytes,
    )


def _matters(difference: Difference | None, noise: Difference | None) -> bool | None:
    """Whether step sizes lie further apart than repeats do, or, without repeats, than can be called equal."""
    if difference is None:
        return None
    return difference.bytes > (noise.bytes if noise else EQUIVALENCE_SHARE * difference.peak_bytes)


def _urgency(trend: Trend) -> tuple[bool, float, bool]:
    """Which group of trials the sentence is about: the one whose memory is full first, but not at once, else a growing one."""
    step = trend.forecast_step
    return step is None or step <= 1, step if step is not None else float("inf"), not trend.is_growing


def _step_sizes(trials: Sequence[Trial]) -> tuple[int, ...]:
    return tuple(sorted({trial.condition.step_size_up for trial in trials}))


def _sentence(found: Findings) -> str:
    if found.trend is None or found.recorder is None:
        return "Nothing was run."
    if found.trend.longest is None:
        return f"{HOW_KNOWN[found.recorder]}: {_without_steps(found)}."
    trials = [trial for trend in found.trends for trial in trend.trials]
    about_ranks = scaling_clause(trials)
    clauses = [_step_size_clause(found), *_trend_clauses(found.trend, found.capacity_bytes)]
    clauses = clauses if about_ranks is None else [about_ranks]
    text = f"{HOW_KNOWN[found.recorder]}: {'; '.join(clauses)}."
    effects = (f"{_effect_text(effect)}." for effect in found.effects if _is_real(effect, found))
    return " ".join([text, *effects, *_may_not_fit(trials, found.capacity_bytes)])


def _may_not_fit(trials: Sequence[Trial], capacity_bytes: int | None) -> Iterator[str]:
    """That what fits as predicted does not at the upper end of its interval."""
    ends = [t.peak_interval.high_reserved_bytes for t in trials if t.status == "ok" and t.peak_interval is not None]
    if capacity_bytes is not None and ends and max(ends) > capacity_bytes:
        yield f"It may not fit: up to {format_bytes(max(ends))} of {format_bytes(capacity_bytes)}."


def _without_steps(found: Findings) -> str:
    """No trial finished a single step."""
    trials = [trial for trend in found.trends for trial in trend.trials]
    ooms = [trial for trial in trials if trial.status == "oom"]
    if len(ooms) == len(trials):
        room = f"{format_bytes(found.capacity_bytes)}" if found.capacity_bytes is not None else "the device"
        runs = "every run is" if len(trials) > 1 else "the run is"
        return f"{runs} out of memory at step 1: a single step does not fit into {room}, whatever the step size"
    statuses = joined(sorted({_STATUS[trial.status] for trial in trials}))
    message = next((f" ({trial.message})" for trial in trials if trial.message), "")
    return f"nothing is known about memory: no step was finished, {count(len(trials), 'run')} {statuses}{message}"


_STATUS = {
    "ok": "ended without a step",
    "oom": "ran out of memory at step 1",
    "failed": "failed",
    "killed": "got killed",
    "timeout": "timed out",
    "interrupted": "got interrupted",
}


def _step_size_clause(found: Findings) -> str:
    difference, noise = found.difference, found.noise
    if difference is None:
        return _nothing_to_compare(found)
    one, other = (f"{trial.condition.step_size_up}" for trial in (difference.one, difference.other))
    if _matters(difference, noise):
        against = ", which without repeats cannot be told from noise"
        against = f", repeats of one run by at most {format_bytes(noise.bytes)}" if noise else against
        return (
            f"the step size matters, at equal step numbers the {one} and the {other} run differ by "
            f"{format_bytes(difference.bytes)} ({difference.figure}, step {difference.step:,}){against}"
        )
    grows = found.trend is not None and found.trend.is_growing
    answer = "the step size does not matter" + (", how many steps are taken does" if grows else "")
    return f"{answer}: at equal step numbers {_equivalence(found, difference)}"


def _equivalence(found: Findings, difference: Difference) -> str:
    runs = f"the {count(_num_compared(found), 'run')}"
    if difference.bytes == 0:
        return f"{runs} use the same memory, byte for byte"
    differ = f"{runs} differ by at most {format_bytes(difference.bytes)}"
    if found.noise is not None:
        return f"{differ}, no more than repeats of one run do ({format_bytes(found.noise.bytes)})"
    return f"{differ}, {100 * difference.bytes / difference.peak_bytes:.2g}% of the peak"


def _num_compared(found: Findings) -> int:
    return len({trial.number for pair in found.pairs for trial in (pair.one, pair.other)})


def _nothing_to_compare(found: Findings) -> str:
    sizes = {trial.condition.step_size_up for trend in found.trends for trial in trend.trials}
    if len(sizes) == 1:
        return f"one step size ({sizes.pop()}) says nothing about whether it matters"
    return "whether the step size matters is not known: no two runs that differ in nothing else finished a step"


def _trend_clauses(trend: Trend, capacity_bytes: int | None) -> list[str]:
    clauses = [_growth_clause(trend)]
    climb = trend.fragmentation_growth
    if climb is not None:
        rate = bytes_per_step(climb.reserved_bytes_per_step)
        clauses.append(f"reserved memory climbs {rate} while active memory is flat: it fragments")
    clauses += [_full_clause(trend, capacity_bytes)] if trend.forecast_step is not None else _sudden_oom(trend)
    return [clause for clause in clauses if clause]


def _growth_clause(trend: Trend) -> str:
    if trend.growth is None:
        return ""
    if not trend.is_growing:
        return "allocated memory does not grow"
    origin = f", from {trend.sources[0].text}" if trend.sources else ""
    return f"allocated memory grows {bytes_per_step(trend.growth.bytes_per_step)}{origin}"


def _full_clause(trend: Trend, capacity_bytes: int | None) -> str:
    room = "memory is" if capacity_bytes is None else f"{format_bytes(capacity_bytes)} are"
    head = f"{room} full at step {trend.forecast_step:,}"
    before = max(trend.ends_before, key=lambda trial: trial.num_steps, default=None)
    after = min(trend.ends_after, key=lambda trial: trial.num_steps, default=None)
    if before is None:
        return f"{head}, before any of these runs has ended"
    if after is None:
        return f"{head}, after all of these runs have ended"
    ended = f"after {_run(before)} has ended ({before.num_steps:,} steps)"
    return f"{head}: {ended} and before {_run(after)} has ({after.num_steps:,})"


def _run(trial: Trial) -> str:
    return f"the {trial.condition.step_size_up} run"


def _sudden_oom(trend: Trend) -> list[str]:
    """Out of memory where others got further, under the same condition but for the step size."""
    if not trend.ooms:
        return []
    oom = trend.ooms[0]
    longest = max(trend.trials, key=lambda trial: trial.num_steps_done)
    who = "another run of it" if not differing_axes(oom.condition, longest.condition) else _run(longest)
    return [
        f"{_run(oom)} ran out of memory at step {oom_step(oom):,}, which {who} got past: see the order and other processes"
    ]


def _is_real(effect: Effect, found: Findings) -> bool:
    return effect.bytes > (found.noise.bytes if found.noise else 0)


def _effect_text(effect: Effect) -> str:
    change, figure = max((effect.allocated_bytes, "allocated"), (effect.reserved_bytes, "reserved"), key=_size)
    direction = "rises" if change > 0 else "falls"
    change_text = f"peak {figure} {direction} by {format_bytes(abs(change))}"
    return f"{effect.axis} does matter: from {shown_value(effect.one)} to {shown_value(effect.other)} {change_text}"


def _size(change: tuple[int, str]) -> int:
    return abs(change[0])
