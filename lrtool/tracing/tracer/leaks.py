"""What piles up: storages born in training steps that are still there steps later, by line of birth and by holder."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from lrtool.results import Category
from lrtool.tracing.tracer.log import BUILD
from lrtool.tracing.tracer.referrers import ReferrerSearch
from lrtool.tracing.tracer.steady_state import Period
from lrtool.tracing.tracer.storage_recorder import LiveStorage, StorageRecorder

MIN_AGE_STEPS = 2
MAX_STEPS_REMEMBERED = 4096
_BELONGS_TO_TRAINING = (
    Category.PARAMETER,
    Category.GRADIENT,
    Category.OPTIMIZER_STATE,
    Category.BUFFER,
    Category.GRADIENT_BUCKET,
)
_Count = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A line whose storages pile up, with the bytes requested that it leaves per step on average.

    `source` is the line of birth, `holder` the container by its name in the user's code, `stored_at` the line that
    puts things into it; each None where it was not found. `has_graph` tells that an autograd graph keeps them alive.
    """

    source: str | None
    bytes_per_step: float
    holder: str | None
    stored_at: str | None
    has_graph: bool = False


class LeakWatch:
    """Follows how many storages of each line outlive their step."""

    def __init__(self, recorder: StorageRecorder) -> None:
        self._recorder = recorder
        self._history: deque[Mapping[str | None, _Count]] = deque(maxlen=MAX_STEPS_REMEMBERED)

    def step_ended(self) -> None:
        """Count what is live now, by line of birth."""
        counts: dict[str | None, _Count] = {}
        for storage in self._recorder.live.values():
            if self._may_pile_up(storage):
                number, num_bytes = counts.get(storage.source, (0, 0))
                counts[storage.source] = (number + 1, num_bytes + storage.num_bytes)
        self._history.append(counts)

    def leaks(self, period: Period | None) -> tuple[Leak, ...]:
        """What has grown from each of the last three periods (without one, steps) to the next, largest first."""
        rates = _growing(self._history, 1 if period is None else period.num_steps)
        if not rates:
            return ()
        old = {source: self._old_storages(source) for source in rates}
        search = ReferrerSearch(frozenset().union(*old.values()), device_type=self._recorder.device_type)
        found = []
        for source, bytes_per_step in rates.items():
            holder = search.referrer_of(old[source])
            leak = Leak(
                source=source,
                bytes_per_step=bytes_per_step,
                holder=None if holder is None else holder.name,
                stored_at=None if holder is None else holder.stored_at,
                has_graph=search.has_graph(old[source]),
            )
            found.append(leak)
        return tuple(sorted(found, key=lambda each: -each.bytes_per_step))

    def _may_pile_up(self, storage: LiveStorage) -> bool:
        if storage.birth.step == BUILD:
            return False
        return self._recorder.log.category(storage.birth) not in _BELONGS_TO_TRAINING

    def _old_storages(self, source: str | None) -> frozenset[int]:
        """Addresses of one step's storages of a line, of the newest that are too old to be there by right."""
        newest = self._recorder.log.step - 1 - MIN_AGE_STEPS
        live = [
            (storage.birth.step, key)
            for key, storage in self._recorder.live.items()
            if storage.source == source and storage.birth.step <= newest and self._may_pile_up(storage)
        ]
        last = max((step for step, _ in live), default=0)
        return frozenset(key for step, key in live if step == last)


def _growing(history: deque[Mapping[str | None, _Count]], stride: int) -> dict[str | None, float]:
    """Bytes per step of every line whose storages rose from each of the last looks to the next."""
    num_looks = 3 if len(history) > 2 * stride else 0
    if not num_looks or len(history) <= 3:
        return {}
    looks = [history[-1 - stride * back] for back in range(num_looks)]
    rates = {}
    for source in looks[0]:
        (last, last_bytes), (middle, _), (first, first_bytes) = (look.get(source, (0, 0)) for look in looks)
        if last > middle > first:
            span = stride * (num_looks - 1)
            rates[source] = (last_bytes - first_bytes) / span
    return rates
