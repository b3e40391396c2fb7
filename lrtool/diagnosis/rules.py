"""From the figures of a run to findings: every cause whose discriminating figures are there, the most telling first. Pure.

Growth comes before everything, as it fills any device; then what explains why memory ran out; then what is
wasted elsewhere. A cause that does not explain it, because leaving it away would not have been enough, follows the one
that does.
"""

from collections.abc import Iterable

from lrtool.diagnosis.causes.bounded import course
from lrtool.diagnosis.causes.cause import Group, all_causes
from lrtool.diagnosis.causes.proofs import plain_run
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import Finding
from lrtool.units import count_of, format_bytes


def diagnose(figures: RunFigures) -> tuple[Finding, ...]:
    """All findings, most telling first; one with cause "none" where nothing is wrong.

    A cause that accounts for 0 bytes is none.
    """
    grows = _all("growth", figures)[:1]
    retries = _all("retry", figures)
    from_outside = _all("outside", figures)
    wasted = sorted(_all("waste", figures), key=lambda finding: -(finding.num_bytes or 0))
    explains = [each for each in wasted if figures.would_fit_without(each.num_bytes or 0)]
    aside = [each for each in wasted if each not in explains]
    fragmented, full = _all("fragmentation", figures)[:1], _all("capacity", figures)[:1]
    if grows:  # growth ends at some limit, and memory may be fragmented there: that is no cause, unless it climbs too
        full, fragmented = [], fragmented if figures.fragmentation_growth is not None else []
    found = [*grows, *from_outside, *explains, *fragmented, *full, *aside]
    if figures.oom is not None and fragmented and not grows:
        found = [*from_outside, *fragmented, *explains, *full, *aside]
    found = [*retries, *found]
    untold = _all("untold", figures)
    if untold and figures.oom is None:  # what is there says nothing of a peak, nor of what is unused then
        found = from_outside
    return _without_repeats([*found, *untold]) or (healthy(figures),)


def healthy(figures: RunFigures) -> Finding:
    """Nothing is wrong, with the figures that say so."""
    title = "nothing is wrong"
    if figures.caught:
        title = "nothing is wrong, though it runs out of memory: it catches that and goes on"
    evidence = [f"peak allocated {format_bytes(figures.peak_allocated_bytes)}"]
    if figures.capacity_bytes is not None:
        share = figures.peak_reserved_bytes / figures.capacity_bytes
        evidence[0] += f", peak reserved {format_bytes(figures.peak_reserved_bytes)}, {share:.1%} of the capacity"
    if figures.may_not_fit and figures.peak_interval is not None:
        title = "nothing is wrong, but it may not fit"
        evidence.append(
            f"peak reserved may be as high as {format_bytes(figures.peak_interval.high_reserved_bytes)}, more than there is"
        )
    if figures.bounded_growth is not None:
        evidence.append(course(figures.bounded_growth))
    elif figures.growth is not None:
        evidence.append(
            f"memory at the steps' ends does not grow over {count_of(len(figures.series.allocated_bytes), 'step')}"
        )
    if figures.is_traced:
        evidence.append("no graph, gradient, copy or old run is kept beyond its time")
    return Finding(
        cause="none",
        title=title,
        confidence="low" if figures.may_not_fit else "high" if figures.growth is not None else "medium",
        evidence=tuple(evidence),
        proof=plain_run(figures),
        cure="none is needed",
    )


def _all(group: Group, figures: RunFigures) -> list[Finding]:
    found = (each.find(figures, each.name) for each in all_causes() if each.group == group)
    return [finding for finding in found if finding is not None and finding.num_bytes != 0]


def _without_repeats(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each cause: the first."""
    return tuple({finding.cause: finding for finding in reversed(list(findings))}.values())[::-1]
