"""What grew, by name: parts of the peak and what piles up, against a baseline or, without one, by their size."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from lrtool.results import Case, Grown, GrowthSource, PeakShare

MAX_NAMED = 5
_Key = tuple[str | None, ...]
_Item = TypeVar("_Item")


def grown_peak(case: Case, baseline: Case | None) -> tuple[Grown, ...]:
    """The parts of the peak that take most more than in the baseline; without one, those that take most."""
    now = {key: share.num_bytes for key, share in _shares(case).items()}
    before = None if baseline is None else {key: share.num_bytes for key, share in _shares(baseline).items()}
    if not now or before == {}:
        return ()
    shares = {**(_shares(baseline) if baseline is not None else {}), **_shares(case)}
    return tuple(
        Grown(
            what="peak",
            category=share.category,
            module=share.module,
            source=share.source,
            line=share.line,
            num_bytes=now.get(key, 0),
            baseline_bytes=None if before is None else before.get(key, 0),
        )
        for key, share in _largest(shares, now, before)
    )


def grown_per_step(case: Case, baseline: Case | None) -> tuple[Grown, ...]:
    """The lines that pile up faster than in the baseline; without one, all that pile up."""
    now = {key: source.bytes_per_step for key, source in _sources(case).items()}
    before = None if baseline is None else {k: source.bytes_per_step for k, source in _sources(baseline).items()}
    return tuple(
        Grown(
            what="step",
            category=source.container,
            module=None,
            source=source.source,
            line=source.line,
            num_bytes=now[key],
            baseline_bytes=None if before is None else before.get(key, 0),
        )
        for key, source in _largest(_sources(case), now, before)
    )


def _largest(
    items: Mapping[_Key, _Item], now: Mapping[_Key, float], before: Mapping[_Key, float] | None
) -> Sequence[tuple[_Key, _Item]]:
    """The items that rose, or, without a before, that there are; by how much, most first."""
    rise = {key: now.get(key, 0) - (before or {}).get(key, 0) for key in items}
    keys = sorted((key for key in items if rise[key] > 0), key=lambda key: -rise[key])
    return [(key, items[key]) for key in keys[:MAX_NAMED]]


def _shares(case: Case) -> dict[_Key, PeakShare]:
    """Parts of the peak by what for, module, file and text of the line: line numbers shift with every edit above them."""
    found: dict[_Key, PeakShare] = {}
    for share in case.peak_shares:
        key = (share.category, share.module, *_origin(share.source, share.line))
        known = found.get(key)
        found[key] = share if known is None else _added(known, share.num_bytes)
    return found


def _sources(case: Case) -> dict[_Key, GrowthSource]:
    return {_origin(source.source, source.line): source for source in case.growth_sources}


def _origin(source: str | None, line: str | None) -> _Key:
    file, _, number = (source or "").partition(":")
    return file, line or number


def _added(share: PeakShare, num_bytes: int) -> PeakShare:
    return PeakShare(
        category=share.category,
        module=share.module,
        source=share.source,
        line=share.line,
        num_bytes=share.num_bytes + num_bytes,
    )
