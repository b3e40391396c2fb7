"""What piles up: storages born in training steps that are still there steps later, by line of birth and by holder."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from lrtool.results import Category, GraphKept
from lrtool.tracing.tracer.growth.referrers import Referrer, ReferrerSearch
from lrtool.tracing.tracer.log import BUILD
from lrtool.tracing.tracer.steady_state import Period
from lrtool.tracing.tracer.storage_recorder import LiveStorage, StorageRecorder

MIN_AGE_STEPS = 2
MAX_STEPS_REMEMBERED = 4096
THE_BATCH = "the batch, from train_loader"
GRADIENTS = "p.grad"
"""What holds a graph that `create_graph=True` made."""
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
    """A line whose storages pile up, or get larger, with the bytes requested that it adds per step on average.

    `source` is the line of birth, `holder` what keeps them by its name in the user's code, `stored_at` the line that
    puts things into it; each None where it was not found. `graph` tells how an autograd graph keeps them alive.
    `may_end` is False where nothing takes anything out of the holder, and None where that is not known; `until_step` is
    the step at which the holder, which has a largest length, is full.
    """

    source: str | None
    bytes_per_step: float
    holder: str | None
    stored_at: str | None
    graph: GraphKept | None = None
    may_end: bool | None = None
    until_step: int | None = None

    @property
    def has_graph(self) -> bool:
        return self.graph is not None


class LeakWatch:
    """Follows how many storages of each line outlive their step, and how large they are."""

    def __init__(self, recorder: StorageRecorder) -> None:
        self._recorder = recorder
        self._history: deque[Mapping[str | None, _Count]] = deque(maxlen=MAX_STEPS_REMEMBERED)

    def step_ended(self) -> None:
        """Count what is live now, by line of birth."""
        counts: dict[str | None, _Count] = {}
        for storage in self._recorder.live.values():
            if self._may_pile_up(storage):
                place = self._place(storage)
                number, num_bytes = counts.get(place, (0, 0))
                counts[place] = (number + 1, num_bytes + storage.num_bytes)
        self._history.append(counts)

    def leaks(self, period: Period | None) -> tuple[Leak, ...]:
        """What has grown from each of the last three periods (without one, steps) to the next, largest first."""
        rates = _growing(self._history, 1 if period is None else period.num_steps)
        if not rates:
            return ()
        piles = {key: live for key, live in self._recorder.live.items() if self._may_pile_up(live)}
        births = {key: live.birth.step for key, live in piles.items()}
        search = ReferrerSearch(births, device_type=self._recorder.device_type)
        found = (self._leak(place, rate, self._kept_of(place, piles), search) for place, rate in rates.items())
        return _of_one_holder_together(found)

    def _leak(self, place: str | None, rate: float, kept: frozenset[int], search: ReferrerSearch) -> Leak:
        graph = search.graph_of(kept)
        if graph == "gradients":
            line = self._recorder.create_graph_source
            return Leak(source=place, bytes_per_step=rate, holder=GRADIENTS, stored_at=line, graph=graph, may_end=False)
        holder = search.referrer_of(kept) or Referrer(None, None)
        return Leak(
            source=place,
            bytes_per_step=rate,
            holder=holder.name,
            stored_at=holder.stored_at,
            graph=graph,
            may_end=False if graph == "chained" else holder.may_end,
            until_step=None if graph == "chained" else self._full_at(holder),
        )

    def _full_at(self, holder: Referrer) -> int | None:
        """The step at which a holder of that largest length is full, if it goes on to take as much as it has until now."""
        step = self._recorder.log.step - 1
        if not holder.max_items or not holder.num_items or step < 1:
            return None
        return round(step * holder.max_items / holder.num_items)

    def _may_pile_up(self, storage: LiveStorage) -> bool:
        if storage.birth.step == BUILD:
            return False
        return self._recorder.log.category(storage.birth) not in _BELONGS_TO_TRAINING

    def _place(self, storage: LiveStorage) -> str | None:
        if storage.source is None and self._recorder.log.category(storage.birth) == Category.INPUT:
            return THE_BATCH
        return storage.source

    def _kept_of(self, place: str | None, piles: Mapping[int, LiveStorage]) -> frozenset[int]:
        """Addresses of one step's storages of a line: of the newest that are too old to be there by right, if there are.

        Where there are none, one tensor gets longer: then those of the last step are meant.
        """
        newest = self._recorder.log.step - 1 - MIN_AGE_STEPS
        live = [(each.birth.step, key) for key, each in piles.items() if self._place(each) == place]
        old = [step for step, _ in live if step <= newest]
        last = max(old, default=max((step for step, _ in live), default=0))
        return frozenset(key for step, key in live if step == last)


def _of_one_holder_together(leaks: Iterable[Leak]) -> tuple[Leak, ...]:
    """Leaks that one line stores are one, with the bytes of all; the largest first."""
    ordered = sorted(leaks, key=lambda each: (each.stored_at or "", each.holder or "", -each.bytes_per_step))
    merged = []
    for (stored_at, _), group in groupby(ordered, key=lambda each: (each.stored_at, each.holder)):
        first, *others = group
        if stored_at is None:
            merged += [first, *others]
        else:
            merged.append(replace(first, bytes_per_step=sum(each.bytes_per_step for each in (first, *others))))
    return tuple(sorted(merged, key=lambda each: -each.bytes_per_step))


def _growing(history: deque[Mapping[str | None, _Count]], stride: int) -> dict[str | None, float]:
    """Bytes per step of every line whose storages take more at each of the last looks than at the one before."""
    num_looks = 3 if len(history) > 2 * stride else 0
    if not num_looks or len(history) <= 3:
        return {}
    looks = [history[-1 - stride * back] for back in range(num_looks)]
    rates = {}
    for source in looks[0]:
        (last, last_bytes), (middle, middle_bytes), (first, first_bytes) = (look.get(source, (0, 0)) for look in looks)
        is_longer = last >= middle >= first and last_bytes > middle_bytes > first_bytes > 0
        if last > middle > first or is_longer:
            span = stride * (num_looks - 1)
            rates[source] = (last_bytes - first_bytes) / span
    return rates
