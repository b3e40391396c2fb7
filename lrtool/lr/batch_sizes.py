"""The range test again at other batch sizes and from several seeds, so that how the LR scales is measured, not assumed."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import NormalDist

from lrtool.config import RangeTestSettings
from lrtool.errors import UsageError
from lrtool.lr.measure import OnProgress
from lrtool.lr.source import Source
from lrtool.results import FEWEST_SIZES, BatchScaling, BatchSizeTest, PowerLaw, RangeTest, unsupported_sizes
from lrtool.workload.target import from_callable

DEFAULT_SEEDS = 3
"""Seeds at each batch size where the settings ask for one: with fewer, the exponent's interval says nothing."""
Test = Callable[[Source, RangeTestSettings, int, OnProgress], RangeTest]
"""One range test of a source, from a seed."""


def with_batch_size(source: Source, size: int) -> Source:
    """The source whose factory gets `batch_size=size`. Raises UsageError where there is none, or it takes no such argument."""
    if source.factory is None:
        raise UsageError("batch sizes need a factory: a live loader has the one it has", hint="give build, not objects")
    params = {**source.factory.params, "batch_size": size}
    return replace(source, factory=from_callable(source.factory.function, params=params, name=source.factory.name))


def sizes_and_seeds(settings: RangeTestSettings, *, seed: int) -> list[tuple[int, int]]:
    """Batch size and seed of every test but the one that the settings ask for anyhow; none for a single size."""
    num_seeds = settings.repeats if settings.repeats > 1 else DEFAULT_SEEDS
    sizes = settings.batch_size if len(settings.batch_size) > 1 else ()
    pairs = [(size, each) for each in range(seed, seed + num_seeds) for size in sizes]
    return pairs[1:] if has_own_row(settings) else pairs


def has_own_row(settings: RangeTestSettings) -> bool:
    """Whether the test that the settings ask for anyhow is one of these: a single ramp, and no confirming runs after it."""
    return settings.repeats == 1 and settings.confirm == "off"


def measure_scaling(
    source: Source,
    pairs: Iterable[tuple[int, int]],
    *,
    settings: RangeTestSettings,
    parts: Iterator[OnProgress],
    test: Test,
) -> tuple[list[BatchSizeTest], BaseException | None]:
    """One test of each batch size and seed; those measured before an error or Ctrl-C are kept."""
    once = replace(settings, repeats=1)
    rows: list[BatchSizeTest] = []
    try:
        for size, seed in pairs:
            found = test(with_batch_size(source, size), once, seed, next(parts))
            rows.append(as_row(found, size=size, seed=seed))
    except BaseException as raised:
        return rows, raised
    return rows, None


def conclude_scaling(tests: Sequence[BatchSizeTest]) -> BatchScaling:
    """The laws that the tests follow; none where a size has no suggestion, and none of fewer than three sizes."""
    return BatchScaling(
        tests=tuple(tests),
        max_lr=_law([(test.batch_size, test.max_lr) for test in tests]),
        suggested_lr=_law([(test.batch_size, test.suggested_lr) for test in tests]),
    )


def as_row(found: RangeTest, *, size: int, seed: int) -> BatchSizeTest:
    """A range test as one point of the law."""
    return BatchSizeTest(
        batch_size=found.batch_size or size,
        seed=seed,
        base_lr=found.base_lr,
        max_lr=found.max_lr,
        suggested_lr=found.suggested_lr,
        confidence=found.confidence,
    )


def _law(points: Sequence[tuple[int, float | None]]) -> PowerLaw | None:
    found = [(size, lr) for size, lr in points if lr is not None]
    # a size is not dropped: that the largest one suggests nothing says more of the law than the others do
    if unsupported_sizes(points) or len({size for size, _ in points}) < FEWEST_SIZES:
        return None
    return fit_power_law([size for size, _ in found], [lr for _, lr in found])


STUDENT_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""For 1 to 10 degrees of freedom."""


def fit_power_law(sizes: Sequence[float], lrs: Sequence[float]) -> PowerLaw | None:
    """LR = factor * size ** exponent, by least squares of y = log LR over x = log size, with the exponent's 95 % interval.

    One LR for each size, sizes repeat where several seeds were measured; None where there are not two different sizes.
    The interval is Student's for the slope of a line, from the scatter around it (Draper and Smith 1998, Applied
    Regression Analysis, 1.4): exponent ± t(0.975, n - 2) s / sqrt(sum (x - mean x)^2), where s^2 = sum r^2 / (n - 2) for the
    residuals r. It holds what seeds and a bend in the law add, and is None with fewer than three LRs. Raises ValueError for
    a size or an LR that is not positive.
    """
    if min((*sizes, *lrs), default=0.0) <= 0:
        raise ValueError("sizes and learning rates are positive")
    x, y = [math.log(size) for size in sizes], [math.log(lr) for lr in lrs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((each - mean_x) ** 2 for each in x)
    if spread < 1e-12:
        return None
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    half = _half_width(x, y, slope=slope, spread=spread)
    return PowerLaw(
        exponent=slope,
        low=None if half is None else slope - half,
        high=None if half is None else slope + half,
        factor=math.exp(mean_y - slope * mean_x),
        num_points=len(x),
    )


def _half_width(x: Sequence[float], y: Sequence[float], *, slope: float, spread: float) -> float | None:
    freedom = len(x) - 2
    if freedom < 1:
        return None
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    left = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    return student_975(freedom) * math.sqrt(left / freedom / spread)


def student_975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: tabled, then by its expansion (Abramowitz and Stegun 26.7.5), within 0.1 %."""
    if freedom <= len(STUDENT_975):
        return STUDENT_975[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
