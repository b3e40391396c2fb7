"""A replay request by request: status, placement and all statistics of each, and the memory in use for a plot."""

from collections.abc import Iterator
from dataclasses import dataclass

from lrtool.memory.allocator.blocks import Block
from lrtool.memory.allocator.caching_allocator import Allocator, OutOfMemoryError
from lrtool.memory.replay.player import FAILURES, Player
from lrtool.memory.replay.replay import Scenario, build_allocator
from lrtool.memory.trace.allocation_trace import NO_SLOT, AllocationTrace, Op, TraceError

Row = dict[str, object]


def per_op_rows(trace: AllocationTrace, scenario: Scenario | None = None) -> Iterator[Row]:
    """One row per request, as it happens: {"status", "where", "stats"}; failed requests do not end the run.

    `status` is "ok", "oom", "error" or "noop" (free of what was never obtained); `where` of an alloc is [segment in
    order of creation, offset in bytes], else None; `stats` is torch.cuda.memory_stats.
    """
    player = Player(trace, build_allocator(trace, scenario or Scenario()), step_peaks=False)
    if not player.starts:
        raise TraceError(
            f"{trace.name}: what is live when it begins does not fit", hint="give a larger --capacity, or none"
        )
    failed: set[int] = set()
    for index in stored_order(trace):
        status, block = _perform(player, index, failed)
        where = None if block is None else [block.segment.index, block.offset]
        yield {"status": status, "where": where, "stats": player.allocator.memory_stats()}


def stored_order(trace: AllocationTrace) -> Iterator[int]:
    """Indices of the stored requests in the order in which they happen."""
    for part in trace.parts():
        for _ in range(part.times):
            yield from range(part.start, part.stop)


def _perform(player: Player, index: int, failed: set[int]) -> tuple[str, Block | None]:
    trace = player.trace
    op, slot, value = trace.ops[index], trace.slots[index], trace.values[index]
    if op == Op.ALLOC:
        return _alloc(player, slot, value, trace.streams[index], failed)
    if op == Op.FREE and slot in failed:
        failed.discard(slot)
        return "noop", None
    if op == Op.FREE:
        block, player.live[slot] = player.live[slot], None
        if block is not None:
            player.allocator.free(block)
        return "ok", None
    player.call(op, slot, value)
    return "ok", None


def _alloc(player: Player, slot: int, size: int, on: int, failed: set[int]) -> tuple[str, Block | None]:
    try:
        block = player.allocator.alloc(size, on) if size else None
    except FAILURES as error:
        player.live[slot] = None
        if slot != NO_SLOT:
            failed.add(slot)
        return ("oom" if isinstance(error, OutOfMemoryError) else "error"), None
    player.live[slot] = block
    return "ok", block


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Bytes in use right after a request, numbered as it happened."""

    request: int
    allocated_bytes: int
    active_bytes: int
    reserved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Memory in use over a trace: per bucket of requests, the moment when most was active.

    `peak` is the first moment at which the most of all was active. `failed_at` numbers the request that failed.
    """

    samples: tuple[Sample, ...]
    peak: Sample
    failed_at: int | None
    num_requests: int


def usage_of(trace: AllocationTrace, scenario: Scenario | None = None, *, max_samples: int = 2_000) -> Usage:
    """At most about `max_samples` samples for a plot; what provably repeats is drawn once, and then its end."""
    allocator = build_allocator(trace, scenario or Scenario())
    sampler = _Sampler(allocator, bucket=max(1, -(-len(trace) // max_samples)))
    player = Player(trace, allocator, watch=sampler)
    sampler.best = _sample(allocator, 0)  # what is there at the start may be the most
    oom = player.play()
    samples = [*sampler.samples, sampler.best]
    if oom is None and len(trace):
        samples.append(_sample(allocator, len(trace) - 1))
    peak = max(samples, key=lambda sample: sample.active_bytes)
    return Usage(
        samples=tuple(samples),
        peak=peak,
        failed_at=None if oom is None else oom.request,
        num_requests=len(trace),
    )


class _Sampler:
    """Keeps the first moment of each bucket of requests at which most was active."""

    def __init__(self, allocator: Allocator, *, bucket: int) -> None:
        self._allocator = allocator
        self._bucket = bucket
        self.samples: list[Sample] = []
        self.best = _sample(allocator, 0)

    def __call__(self, request: int) -> None:
        if request // self._bucket != self.best.request // self._bucket:
            self.samples.append(self.best)
            self.best = _sample(self._allocator, request)
        elif self._allocator.statistics.overall.active_bytes > self.best.active_bytes:
            self.best = _sample(self._allocator, request)


def _sample(allocator: Allocator, request: int) -> Sample:
    tally = allocator.statistics.overall
    return Sample(
        request=request,
        allocated_bytes=tally.allocated_bytes,
        active_bytes=tally.active_bytes,
        reserved_bytes=tally.reserved_bytes,
    )
