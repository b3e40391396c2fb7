"""Plays an allocation trace on a simulated allocator; where a step and the state it leaves repeat, proves the rest.

The proof: the allocator is deterministic, so once the same requests begin in a state that occurred before, everything
since then happens again, period after period. Current and peak figures are then already final, cumulative ones grow
by the same amount each period, and only the remainder of the last period still has to be played.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from lrtool.errors import UsageError
from lrtool.memory.allocator.blocks import Block
from lrtool.memory.allocator.caching_allocator import Allocator, DeviceAllocationError, OutOfMemoryError
from lrtool.memory.allocator.heap import AllocatorAssertError
from lrtool.memory.allocator.restore import holds, restore
from lrtool.memory.allocator.state import Progress, Quick, State, full_state, progress_of, quick_state, skip_periods
from lrtool.memory.allocator.statistics import EventCounts
from lrtool.memory.metrics import died_of_fragmentation
from lrtool.memory.trace.allocation_trace import ALL_STREAMS, AllocationTrace, Op, Repeat, TraceError
from lrtool.memory.trace.steps import rounds, step_of
from lrtool.results import Oom
from lrtool.units import format_bytes

CHUNK = 65_536
MAX_STEPS = 100_000
_RETRIES = [field.name for field in fields(EventCounts)].index("num_alloc_retries")
FAILURES = (OutOfMemoryError, DeviceAllocationError, AllocatorAssertError)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnd:
    """Where the figures stood when a step ended; bytes, and cumulative counts.

    `peak_allocated_bytes` is the step's own peak where the player watches those, else that of the run so far.
    """

    allocated_bytes: int
    active_bytes: int
    reserved_bytes: int
    inactive_split_bytes: int
    requested_bytes: int
    peak_allocated_bytes: int
    num_alloc_retries: int
    num_device_allocs: int
    num_device_frees: int


@dataclass(frozen=True, slots=True)
class _Milestone:
    """A state to meet again, taken at the end of a round."""

    round: int
    quick: Quick
    state: State
    progress: Progress
    num_steps: int


class Player:
    """One run of a trace; `num_played` of the requests were simulated, the others followed from a proof.

    `starts` says whether what is live at the start fits, `steps` how each step ended, up to the first MAX_STEPS.
    `watch` is told the number of each request played.
    With `step_peaks`, the allocator's own peak of allocated bytes is whole again only once `play` is over.
    """

    def __init__(
        self,
        trace: AllocationTrace,
        allocator: Allocator,
        *,
        prove: bool = True,
        watch: Callable[[int], None] | None = None,
        step_peaks: bool = True,
    ) -> None:
        self.trace = trace
        self.allocator = allocator
        self.live: list[Block | None] = [None] * (trace.num_slots + 1)
        self.steps: list[StepEnd] = []
        self.num_played = 0
        self.position = 0
        self._prove = prove
        self._watch = watch
        self._in_step = False
        self._has_step_peaks = step_peaks
        self._peak_before_bytes = 0
        self._step_peak_bytes = 0
        if trace.start is not None:
            for slot, block in restore(allocator, trace.start).items():
                self.live[slot] = block
        self.starts = holds(allocator)

    @property
    def is_in_step(self) -> bool:
        """Whether a step has begun and not ended."""
        return self._in_step

    def play(self) -> Oom | None:
        """Play to the end, or to the first request that fails; not at all where the start state does not fit."""
        if not self.starts:
            return self._oom_at_start()
        for part in rounds(self.trace):
            oom = self._play_rounds(part)
            if oom is not None:
                self._restore_peak()
                return oom
        self._end_step()
        return None

    def _play_rounds(self, part: Repeat) -> Oom | None:
        """Play rounds until one ends in an earlier one's state; Brent's cycle search remembers only one at a time."""
        has_marks = part.times > 1 and Op.STEP not in self.trace.ops[part.start : part.stop]
        ends_step = has_marks or self.trace.ops[part.start] == Op.STEP
        milestone: _Milestone | None = None
        number, proving = 0, self._prove and part.times > 2
        while number < part.times:
            if has_marks:
                self._begin_step()
            oom = self.play_range(part.start, part.stop)
            if oom is not None:
                return oom
            number += 1
            if ends_step:
                self._end_step()
            if proving and milestone is not None and self._is_at(milestone):
                number += self._skip(part, milestone, number)
                proving = False
            elif proving and number & (number - 1) == 0:
                milestone = self._milestone(number)
        return None

    def play_range(self, start: int, stop: int) -> Oom | None:
        """Play stored requests `start` to `stop` (excluded) once."""
        chunk = CHUNK if self._watch is None else 1
        for begin in range(start, stop, chunk):
            end = min(begin + chunk, stop)
            failed = self._play_chunk(begin, end)
            if failed is not None:
                index, error = failed
                self._advance(index - begin)
                return self._oom(index, error)
            self._advance(end - begin)
        return None

    def _oom(self, stored_index: int, error: Exception) -> Oom:
        """Why a request failed, judged by the state it left: the cache is released, as torch leaves it."""
        size, note = self.trace.values[stored_index], self.trace.note(stored_index)
        unused = self.allocator.available_bytes()
        largest = max(self.allocator.largest_free_bytes(), unused)
        free = unused + self.allocator.now().free_bytes
        is_fragmented = died_of_fragmentation(size, largest_free_bytes=largest, free_bytes=free)
        return Oom(
            step=step_of(self.trace, self.position),
            request=self.position,
            size_bytes=size,
            status="oom" if isinstance(error, OutOfMemoryError) else "error",
            cause="fragmentation" if is_fragmented else "capacity",
            is_barred=size <= largest,
            largest_free_bytes=largest,
            free_bytes=free,
            phase=note.phase,
            category=note.category,
            operator=note.operator,
            source=note.source,
            detail=str(error) if isinstance(error, AllocatorAssertError) else None,
        )

    def _oom_at_start(self) -> Oom:
        """Why it cannot even begin: too much is live, or what is live keeps segments from going back that are too much."""
        start, room = self.trace.start, self.allocator.device.limit_bytes
        assert start is not None
        if self.allocator.allowed_bytes is not None:
            room = min(room, self.allocator.allowed_bytes)
        return Oom(
            step=0,
            request=0,
            size_bytes=start.live_bytes,
            cause="capacity" if start.live_bytes > room else "fragmentation",
            largest_free_bytes=room,
            free_bytes=room,
            at_start=True,
            detail=f"{format_bytes(start.live_bytes)} are live when the recording begins, in segments of "
            f"{format_bytes(self.allocator.device.used_bytes)} that cannot be given back",
        )

    def _advance(self, count: int) -> None:
        self.position += count
        self.num_played += count
        if count and self._watch is not None:
            self._watch(self.position - 1)

    def _play_chunk(self, start: int, stop: int) -> tuple[int, Exception] | None:
        trace, live = self.trace, self.live
        alloc, free = self.allocator.alloc, self.allocator.free
        columns = (trace.ops[start:stop], trace.slots[start:stop], trace.values[start:stop],
                   trace.streams[start:stop])  # fmt: skip
        index = start
        try:
            for index, op, slot, value, on in zip(range(start, stop), *columns, strict=True):  # noqa: B007
                if op == 0:
                    live[slot] = alloc(value, on) if value else None
                elif op == 1:
                    block = live[slot]
                    if block is not None:
                        free(block)
                        live[slot] = None
                else:
                    self.call(op, slot, value)
        except FAILURES as error:
            return index, error
        return None

    def call(self, op: int, slot: int, value: int) -> None:
        """Any request but alloc and free."""
        if op == Op.STEP:
            self._begin_step()
        elif op == Op.RECORD_STREAM:
            block = self.live[slot]
            if block is not None:
                self.allocator.record_stream(block, value)
        else:
            if op == Op.RESET_PEAK:
                self._restore_peak()
            _CALLS[op](self.allocator, self.trace, value)

    def _begin_step(self) -> None:
        self._end_step()
        self._in_step = True
        if self._has_step_peaks:
            tally = self.allocator.statistics.overall
            self._peak_before_bytes, self._step_peak_bytes = tally.allocated_bytes_peak, 0
            tally.allocated_bytes_peak = tally.allocated_bytes

    def _restore_peak(self) -> None:
        """Make the peak of allocated bytes that of the whole run again."""
        tally = self.allocator.statistics.overall
        self._step_peak_bytes = max(tally.allocated_bytes_peak, self._step_peak_bytes)
        tally.allocated_bytes_peak = max(tally.allocated_bytes_peak, self._peak_before_bytes)
        self._peak_before_bytes = 0

    def _end_step(self) -> None:
        if not self._in_step:
            return
        self._in_step = False
        statistics, device = self.allocator.statistics, self.allocator.device
        tally = statistics.overall
        self._restore_peak()
        if len(self.steps) == MAX_STEPS:
            return
        self.steps.append(
            StepEnd(
                allocated_bytes=tally.allocated_bytes,
                active_bytes=tally.active_bytes,
                reserved_bytes=tally.reserved_bytes,
                inactive_split_bytes=tally.split_bytes,
                requested_bytes=tally.requested_bytes,
                peak_allocated_bytes=self._step_peak_bytes,
                num_alloc_retries=statistics.counts.num_alloc_retries,
                num_device_allocs=device.num_allocs,
                num_device_frees=device.num_frees,
            )
        )

    def _milestone(self, number: int) -> _Milestone:
        return _Milestone(
            number,
            quick_state(self.allocator),
            full_state(self.allocator, self.live),
            progress_of(self.allocator),
            len(self.steps),
        )

    def _is_at(self, milestone: _Milestone) -> bool:
        return (
            quick_state(self.allocator) == milestone.quick and full_state(self.allocator, self.live) == milestone.state
        )

    def _skip(self, part: Repeat, milestone: _Milestone, number: int) -> int:
        """Skip as many whole periods as are left; returns the number of rounds skipped."""
        period = number - milestone.round
        times = (part.times - number) // period
        requests = self.trace.ops[part.start : part.stop]
        stand = Op.RESET_ACCUMULATED in requests
        last = self.steps[milestone.num_steps :]
        progress = progress_of(self.allocator)
        skip_periods(self.allocator, since=milestone.progress, times=times, counts_stand=stand)
        growth = _counts_between(milestone.progress, progress)
        for done in range(1, times + 1):
            if not last or len(self.steps) >= MAX_STEPS:
                break
            self.steps.extend(_later(step, growth, done) for step in last)
        del self.steps[MAX_STEPS:]
        self.position += times * period * (part.stop - part.start)
        return times * period


def _counts_between(before: Progress, after: Progress) -> tuple[int, int, int]:
    """What was counted between two points: retries, device allocations, device frees."""
    (allocs, frees), (later_allocs, later_frees) = before.device_calls, after.device_calls
    return after.counts[_RETRIES] - before.counts[_RETRIES], later_allocs - allocs, later_frees - frees


def _later(step: StepEnd, growth: tuple[int, int, int], periods: int) -> StepEnd:
    """The same step of a later period."""
    if growth == (0, 0, 0):
        return step
    return replace(
        step,
        num_alloc_retries=step.num_alloc_retries + growth[0] * periods,
        num_device_allocs=step.num_device_allocs + growth[1] * periods,
        num_device_frees=step.num_device_frees + growth[2] * periods,
    )


def _change_settings(allocator: Allocator, trace: AllocationTrace, value: int) -> None:
    conf = trace.texts[value]
    try:
        allocator.change_settings(conf)
    except UsageError as error:
        raise TraceError(f"{trace.name}: settings {conf!r}: {error.message}", hint=error.hint) from None


_CALLS: dict[int, Callable[[Allocator, AllocationTrace, int], None]] = {
    Op.ADVANCE: lambda allocator, _, value: allocator.advance(None if value == ALL_STREAMS else value),
    Op.EMPTY_CACHE: lambda allocator, _, __: allocator.empty_cache(),
    Op.RESET_PEAK: lambda allocator, _, __: allocator.statistics.reset_peaks(),
    Op.RESET_ACCUMULATED: lambda allocator, _, __: allocator.statistics.reset_accumulated(),
    Op.SET_MEMORY_FRACTION: lambda allocator, trace, value: allocator.set_memory_fraction(trace.fractions[value]),
    Op.SET_LIMIT: lambda allocator, _, value: allocator.set_limit(value),
    Op.SETTINGS: _change_settings,
}
