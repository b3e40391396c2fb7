"""Turns a CUDA memory snapshot into an allocation trace.

A snapshot that was begun in the middle of a process starts from the state rebuilt from its final segments, by undoing
the trace: what was live before the first event is live when the trace begins.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from lrtool.memory.snapshot.contents import Event, Snapshot
from lrtool.memory.snapshot.initial_state import rebuild_start
from lrtool.memory.trace.allocation_trace import AllocationTrace, FailedRequest, Note, Op, StartState, TraceError
from lrtool.memory.trace.builder import TraceBuilder
from lrtool.units import count_of, format_bytes


def snapshot_trace(snapshot: Snapshot, *, name: str) -> AllocationTrace:
    """The requests in the trace of a snapshot's busiest device. Raises TraceError naming `name`."""
    builder = TraceBuilder(name)
    try:
        start = rebuild_start(snapshot, adopt=builder.adopt)
        places, releases = _replay_events(snapshot, builder)
        oom = _recorded_oom(snapshot, places)
    except TraceError as error:
        raise TraceError(f"{name}: {error.message}", hint=error.hint) from None
    return builder.build(
        start=start,
        recorded_segments=tuple((e.address, e.size) for e in snapshot.events if e.action == "segment_alloc"),
        recorded_settings=snapshot.settings,
        recorded_oom=oom,
        has_history=snapshot.has_history,
        warnings=tuple(_warnings(snapshot, start, releases)),
    )


def _recorded_oom(snapshot: Snapshot, places: dict[int, int]) -> FailedRequest | None:
    """The last one, with the state that it met: what came after it is undone, from the final segments."""
    if not places:
        return None
    index, request = list(places.items())[-1]
    event, names = snapshot.events[index], count()
    state = rebuild_start(replace(snapshot, events=snapshot.events[index + 1 :]), adopt=lambda _: next(names))
    pieces = [] if state is None else [size for segment in state.segments for size in segment.free_pieces()]
    return FailedRequest(
        device=snapshot.device,
        request=request,
        size_bytes=event.size,
        device_free_bytes=event.address,
        reserved_bytes=0 if state is None else state.reserved_bytes,
        largest_free_bytes=max([event.address, *pieces]),
        free_bytes=event.address + sum(pieces),
        source=event.source,
        earlier=tuple(places.values())[:-1],
    )


def _replay_events(snapshot: Snapshot, builder: TraceBuilder) -> tuple[dict[int, int], int]:
    """Append what the program asked for; returns the requests of events that failed, and how often cached memory went."""
    failed: dict[int, int] = {}
    late = _late_completions(snapshot.events)
    requested: set[int] = set()
    releasing, releases = False, 0
    for index, event in enumerate(snapshot.events):
        if event.action == "oom":
            failed[index] = len(builder)
        try:
            _append(index, event, builder, late, requested)
        except TraceError as error:
            raise TraceError(f"event {index}: {error.message}", hint=error.hint) from None
        is_release = event.action in ("segment_free", "segment_unmap")
        if is_release and not releasing:
            builder.call(Op.EMPTY_CACHE)
            releases += 1
        releasing = is_release
    return failed, releases


def _append(index: int, event: Event, builder: TraceBuilder, late: dict[int, int], requested: set[int]) -> None:
    """What an event says of an allocation; `requested` are the addresses whose free is under way."""
    if event.action == "alloc":
        builder.alloc(event.address, event.size, stream=event.stream, note=_note(event))
    elif event.action == "oom":
        builder.alloc(("oom", index), event.size, stream=event.stream, note=_note(event))
        builder.free(("oom", index))
    elif event.action == "free_requested":
        if index in late:
            builder.record_stream(event.address, late[index])
        builder.free(event.address)
        requested.add(event.address)
    elif event.action == "free_completed":
        if event.address not in requested:  # it was requested before the recording began
            builder.free(event.address)
        elif -index in late:
            builder.advance(late[-index])
        requested.discard(event.address)


def _late_completions(events: list[Event]) -> dict[int, int]:
    """Frees that had to wait for another stream: a stream of its own for each, at its request and (negated) its end.

    The trace does not say which stream was waited for. One that nothing else uses, and that is done exactly when the
    free was completed, has the same effect; they are numbered in the order of completion.
    """
    requested: dict[int, int] = {}
    late: dict[int, int] = {}
    stream = max((event.stream for event in events), default=0)
    for index, event in enumerate(events):
        if event.action == "free_requested":
            requested[event.address] = index
        elif event.action == "free_completed":
            begin = requested.pop(event.address, None)
            if begin is not None and begin != index - 1:
                stream += 1
                late[begin] = late[-index] = stream
    for begin in requested.values():
        stream += 1
        late[begin] = stream
    return late


def _warnings(snapshot: Snapshot, start: StartState | None, releases: int) -> Iterator[str]:
    yield from _devices(snapshot)
    if not snapshot.has_history:
        yield "there is no history in it: what it holds is known, not what led there"
    elif start is not None:
        guessed = (
            f"; of {count_of(start.num_guessed_blocks, 'block')} freed later, sizes are rounded requests"
            if start.num_guessed_blocks
            else ""
        )
        yield (
            f"recorded from the middle of a process: starts from {count_of(len(start.segments), 'segment')} "
            f"({format_bytes(start.reserved_bytes)}, {format_bytes(start.live_bytes)} live) rebuilt from the snapshot"
            f"{guessed}"
        )
    num_private = sum(segment.is_private for segment in snapshot.segments)
    if num_private:
        verb = "is" if num_private == 1 else "are"
        yield f"{count_of(num_private, 'segment')} of private pools (CUDA graphs) {verb} replayed as if shared"
    unknown = snapshot.unknown_actions
    if unknown:
        names = ", ".join(list(unknown)[:3]) + (", ..." if len(unknown) > 3 else "")
        yield f"left out, as events of kinds lrtool does not know: {sum(unknown.values()):,} ({names})"
    if releases:
        yield (
            f"{count_of(releases, 'release')} of cached memory {'is' if releases == 1 else 'are'} replayed as empty_cache: "
            "the trace does not say who asked"
        )


def _devices(snapshot: Snapshot) -> Iterator[str]:
    """Which of several devices is told, and why."""
    if snapshot.others:
        others = ", ".join(f"cuda:{each.device}" for each in snapshot.others)
        num_events = len(snapshot.events)
        if snapshot.last_oom_us is not None:
            why = "it ran out of memory"
        elif num_events > max(len(each.events) for each in snapshot.others):
            why = "it has the most events"
        else:
            why = "it holds the most"
        yield f"cuda:{snapshot.device} is told, as {why}; the file holds {others} too"


def _note(event: Event) -> Note | None:
    return Note(source=event.source) if event.source else None
