"""From the figures of a run to findings: every cause whose discriminating figures are there, the most telling first. Pure.

Growth comes before everything, as it fills any device; then what explains a death; then what is wasted without one. A cause
that does not explain a death, because leaving it away would not have been enough, follows the one that does.
"""

from collections.abc import Callable, Iterable

from lrtool.diagnosis.causes import capacity, fragmentation, growth, outside, waste
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import Finding
from lrtool.units import format_bytes

Rule = Callable[[RunFigures], Finding | None]
GROWTH: tuple[Rule, ...] = (
    growth.hidden_state,
    growth.old_run,
    growth.kept_evaluation,
    growth.retained_graph,
)
OUTSIDE: tuple[Rule, ...] = (outside.other_process, outside.option_not_in_force)
WASTE: tuple[Rule, ...] = (
    waste.evaluation_with_graph,
    waste.garbage,
    waste.kept_weight_copies,
    waste.checkpoint_saving,
    waste.gradients_kept,
)
FRAGMENTATION: tuple[Rule, ...] = (
    fragmentation.side_streams,
    fragmentation.variable_shapes,
    fragmentation.fixed_shapes,
)
CAPACITY: tuple[Rule, ...] = (
    capacity.workspaces,
    capacity.weight_copies,
    capacity.foreach_temporaries,
    capacity.lazy_optimizer_state,
    capacity.variable_shapes,
    capacity.plain,
)


def diagnose(figures: RunFigures) -> tuple[Finding, ...]:
    """All findings, most telling first; one with cause "none" where nothing is wrong."""
    grows = _first(GROWTH, figures)
    from_outside = _all(OUTSIDE, figures)
    wasted = sorted(_all(WASTE, figures), key=lambda finding: -(finding.num_bytes or 0))
    explains = [each for each in wasted if figures.would_fit_without(each.num_bytes or 0)]
    aside = [each for each in wasted if each not in explains]
    fragmented, full = _first(FRAGMENTATION, figures), _first(CAPACITY, figures)
    if grows:  # what dies in the end of growth dies at some limit, and may be fragmented there: that is no cause
        full, fragmented = [], [each for each in fragmented if each.confidence == "high"]
    found = [*grows, *from_outside, *explains, *fragmented, *full, *aside]
    if figures.oom is not None and fragmented and not grows:
        found = [*from_outside, *fragmented, *explains, *full, *aside]
    return _without_repeats(found) or (healthy(figures),)


def healthy(figures: RunFigures) -> Finding:
    """Nothing is wrong, with the figures that say so."""
    evidence = [f"peak allocated {format_bytes(figures.peak_allocated_bytes)}"]
    if figures.capacity_bytes is not None:
        share = figures.peak_reserved_bytes / figures.capacity_bytes
        evidence[0] += f", peak reserved {format_bytes(figures.peak_reserved_bytes)}, {share:.1%} of the capacity"
    if figures.growth is not None:
        evidence.append(f"memory at the steps' ends does not grow over {len(figures.series.allocated_bytes):,} steps")
    if figures.is_traced:
        evidence.append("no graph, gradient, copy or old run is kept beyond its time")
    return Finding(
        cause="none",
        title="nothing is wrong",
        confidence="high" if figures.growth is not None else "medium",
        evidence=tuple(evidence),
        proof=f"lrtool mem-sweep {figures.target}",
        cure="none is needed",
    )


def _first(rules: Iterable[Rule], figures: RunFigures) -> list[Finding]:
    return _all(rules, figures)[:1]


def _all(rules: Iterable[Rule], figures: RunFigures) -> list[Finding]:
    return [finding for rule in rules if (finding := rule(figures)) is not None]


def _without_repeats(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each cause: the first."""
    return tuple({finding.cause: finding for finding in reversed(list(findings))}.values())[::-1]
