"""A range for each parameter group: every group is ramped alone, the others held at LR 0; then all together.

A group ramped beside others that train would be blamed or praised for what they do. Held at 0 they stay as they are, as in
gradual unfreezing (Howard and Ruder 2018, arXiv:1801.06146), and the loss is a function of the one group's LR. Where its
descent is half done gives the ratios of the LRs: that place is found also where the loss never turns up again. Ratios give
no size: steps that are stable one at a time need not be so together (the curvature along all is up to the sum of theirs).
So a last ramp raises all LRs in these ratios, and the suggestion is drawn from that one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lrtool.config import RangeTestSettings
from lrtool.lr.curve.suggest import suggest
from lrtool.lr.measure import OnProgress, as_error, measure
from lrtool.lr.source import Source
from lrtool.results import GroupTest


def ramp_each_alone(
    source: Source, count: int, *, settings: RangeTestSettings, seed: int, parts: Iterator[OnProgress]
) -> tuple[GroupTest, ...]:
    """One test for each of `count` groups. Raises what ended a ramp."""
    return tuple(
        _ramp_alone(_one_group(source, index, count), index, settings=settings, seed=seed, on_progress=next(parts))
        for index in range(count)
    )


def found_ratios(tests: Sequence[GroupTest], *, given: Sequence[float]) -> tuple[float, ...]:
    """Each group's LR over the largest: in proportion to where the descent of each group alone is half done.

    A group that shows no descent keeps its place: the ratio it was `given`, scaled as those of the others were on
    (geometric) average. If none shows any, all keep theirs.
    """
    found = {group: test.half_descent for group, test in enumerate(tests) if test.half_descent is not None}
    changes = [math.log(lr / given[group]) for group, lr in found.items() if given[group] > 0]
    scale = math.exp(sum(changes) / len(changes)) if changes else 1.0
    lrs = [found.get(group, ratio * scale) for group, ratio in enumerate(given)]
    return tuple(lr / max(lrs) for lr in lrs)


def _one_group(source: Source, group: int, count: int) -> Source:
    return replace(source, group_ratios=tuple(1.0 if index == group else 0.0 for index in range(count)))


def _ramp_alone(
    source: Source, group: int, *, settings: RangeTestSettings, seed: int, on_progress: OnProgress
) -> GroupTest:
    measurement = measure(source, settings=settings, seed=seed, on_progress=on_progress)
    if measurement.error is not None:
        raise as_error(measurement.error)
    suggestion = suggest([(ramp.lrs, ramp.losses) for ramp in measurement.ramps if ramp.losses])
    return GroupTest(
        num_parameters=measurement.setup.group_sizes[group],
        curve=suggestion.curve,
        half_descent=None if suggestion.landmarks is None else suggestion.landmarks.half_descent,
        range=suggestion.groups[0],
        confidence=suggestion.confidence,
        reason=suggestion.reason,
    )
