"""The search for the largest number that fits: few tries, since memory rises almost in proportion to it. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field

MAX_SAMPLES = 2**20
MAX_FACTOR = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of one size: whether it fits, and the bytes it takes, None where memory ran out before that was known."""

    fits: bool
    peak_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The largest size that fits, 0 where none does; `is_limit_reached` says that the next size tried does not fit."""

    size: int
    is_limit_reached: bool
    attempts: dict[int, Attempt]


def search_largest(
    attempt: Callable[[int], Attempt],
    *,
    start: int,
    capacity_bytes: int,
    resolution: float = 0.0,
    limit: int = MAX_SAMPLES,
) -> Found:
    """Try sizes from `start` until the largest that fits is known, to one, or to a fraction `resolution` of it.

    Between a size that fits and one that does not, the line through what is known and the middle take turns. Nothing
    above `limit` is tried.
    """
    search = _Search(attempt, capacity_bytes, limit)
    search.try_size(max(1, min(start, limit)))
    while search.high is None and search.low < limit:
        search.try_size(search.larger())
    while search.high is not None and search.high - search.low > max(1, int(search.low * resolution)):
        search.try_size(search.between())
    return Found(size=search.low, is_limit_reached=search.high is not None, attempts=search.attempts)


@dataclass(slots=True)
class _Search:
    """What is known so far: everything up to `low` fits, nothing from `high` on."""

    attempt: Callable[[int], Attempt]
    capacity_bytes: int
    limit: int
    low: int = 0
    high: int | None = None
    attempts: dict[int, Attempt] = field(default_factory=dict)

    def try_size(self, size: int) -> None:
        result = self.attempts[size] = self.attempt(size)
        if result.fits:
            self.low = max(self.low, size)
        else:
            self.high = size if self.high is None else min(self.high, size)

    def larger(self) -> int:
        estimate = self._estimate() or 2 * self.low
        return min(max(estimate, self.low + 1 + self.low // 16), MAX_FACTOR * self.low, self.limit)

    def between(self) -> int:
        assert self.high is not None
        estimate = self._estimate() if len(self.attempts) % 2 == 0 else None
        middle = (self.low + self.high) // 2
        return min(max(estimate or middle, self.low + 1), self.high - 1)

    def _estimate(self) -> int | None:
        """Where the line through the two known sizes nearest to the capacity meets it; None without a rising line."""
        known = [(size, each.peak_bytes) for size, each in self.attempts.items() if each.peak_bytes is not None]
        nearest = sorted(known, key=lambda pair: abs(pair[1] - self.capacity_bytes))[:2]
        if len(nearest) < 2:
            return None
        (x1, y1), (x2, y2) = sorted(nearest)
        return None if y2 <= y1 else x1 + (self.capacity_bytes - y1) * (x2 - x1) // (y2 - y1)
