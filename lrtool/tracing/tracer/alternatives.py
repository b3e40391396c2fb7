"""A trace in which data decide what happens: with the program's own values where they are cheap, and with other answers.

A number that the trace does not have may lead the program another way. Where a step is cheap enough to compute on the CPU, it
is traced once more with its values; and each line that decides something is traced with the other answer, so that the result
can say what that would use.
"""

import time
from dataclasses import replace

from lrtool.errors import LrtoolError
from lrtool.results import Assumption
from lrtool.tracing.fake_values.values import EVERYTHING
from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, Values, trace
from lrtool.workload.target import Factory

MAX_OPERATIONS = 10**10
MAX_BYTES = 2**30
"""Up to so many floating-point operations and requested bytes a trace is computed along on the CPU: about a second."""
MAX_BRANCHES = 4
MAX_STEPS = 6
MAX_DURATION_S = 30.0
"""Of all traces with another answer together, beyond the first."""


def trace_with_alternatives(factory: Factory, settings: TraceSettings) -> TracedRun:
    """The trace of a workload, with what another answer would use beside each assumption. Raises as `trace` does."""
    first = trace(factory, settings)
    if settings.kind != "predicted" or not _is_open(first):
        return first
    settings, likely = _computed(factory, settings, first)
    return replace(likely, assumptions=_with_effects(factory, settings, likely))


def _is_open(traced: TracedRun) -> bool:
    """Whether data that nobody knows decided anything."""
    return any(each.kind in ("value", "size") for each in traced.assumptions)


def _computed(factory: Factory, settings: TraceSettings, first: TracedRun) -> tuple[TraceSettings, TracedRun]:
    """The trace with the values that a run on the CPU has, where that is cheap.

    Where its steps do not repeat and those of `first` do, `first` is taken, with selections as large as they were at most.
    """
    if sum(first.num_operations) > MAX_OPERATIONS or first.peak_bytes > MAX_BYTES or first.failure is not None:
        return settings, first
    computing = replace(
        settings,
        values=Values(limits=EVERYTHING),
        max_traced_steps=2 * first.num_traced_steps + MAX_STEPS,
        max_duration_s=MAX_DURATION_S,
    )
    try:
        found = trace(factory, computing)
        if found.failure is None and (found.period is not None or first.period is None):
            return computing, found
        if found.seen_shares:
            settings = replace(settings, values=Values(shares=found.seen_shares))
            return settings, trace(factory, settings)
    except LrtoolError:  # what the program does with its own values may need a real device
        pass
    return settings, first


def _with_effects(factory: Factory, settings: TraceSettings, likely: TracedRun) -> tuple[Assumption, ...]:
    """The assumptions, those with another answer with what it would change."""
    begin = time.perf_counter()
    effects: dict[str, int] = {}
    for site in dict.fromkeys(filter(None, likely.branches)):
        if len(effects) >= MAX_BRANCHES or time.perf_counter() - begin > MAX_DURATION_S:
            break
        other = replace(
            settings,
            values=replace(settings.values, other_at=frozenset([site])),
            num_steps=min(MAX_STEPS, likely.num_traced_steps),
            until_steady=False,
            keeps_failed=True,
        )
        try:
            effects[site] = trace(factory, other).peak_bytes - likely.peak_bytes
        except LrtoolError:  # the program does not go on with the other answer
            continue
    return tuple(
        _moved(assumption, None if site is None else effects.get(site))
        for assumption, site in zip(likely.assumptions, likely.branches, strict=True)
    )


def _moved(assumption: Assumption, change: int | None) -> Assumption:
    if change is None:
        return assumption
    return replace(assumption, below_bytes=max(0, -change), above_bytes=max(0, change))
