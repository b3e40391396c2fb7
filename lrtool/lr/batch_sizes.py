"""The range test again at other batch sizes and from several seeds, so that how the LR scales is measured, not assumed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from lrtool.config import RangeTestSettings
from lrtool.errors import UsageError
from lrtool.lr.measure import OnProgress, Source
from lrtool.lr.scaling import fit_power_law
from lrtool.results import BatchScaling, BatchSizeTest, PowerLaw, RangeTest
from lrtool.target import from_callable

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
    except (Exception, KeyboardInterrupt) as raised:
        return rows, raised
    return rows, None


def conclude_scaling(tests: Sequence[BatchSizeTest]) -> BatchScaling:
    """The laws that the tests with a suggestion follow."""
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
    return fit_power_law([size for size, _ in found], [lr for _, lr in found]) if found else None
