"""What the peak of a trace consists of, also where rounds repeat and leave something behind."""

from hypothesis import given
from hypothesis import strategies as st

from lrtool.memory.attribution.peak import PeakPart, most_by_category, peak_breakdown
from lrtool.memory.trace.allocation_trace import NO_SLOT, AllocationTrace, Note, Op
from lrtool.memory.trace.builder import TraceBuilder

WEIGHTS, ACTIVATION, KEPT = (
    Note(category=category, source=source)
    for category, source in (("parameter", "m.py:3"), ("activation", "m.py:9"), ("temporary", "m.py:12"))
)


def part(note: Note, num_bytes: int) -> PeakPart:
    return PeakPart(category=note.category, module=note.module, source=note.source, num_bytes=num_bytes)


def leaky(times: int) -> AllocationTrace:
    """400 bytes of weights, and in each round 1000 that come and go and 10 that stay."""
    builder = TraceBuilder("leaky")
    builder.alloc("w", 400, note=WEIGHTS)
    builder.begin_repeat(times)
    builder.call(Op.STEP)
    builder.alloc("a", 1000, note=ACTIVATION)
    builder.alloc(None, 10, note=KEPT)
    builder.free("a")
    builder.end_repeat()
    return builder.build()


def test_the_peak_of_the_last_round_has_what_all_rounds_left_behind() -> None:
    for times in (2, 3, 4, 7000):
        assert peak_breakdown(leaky(times)) == tuple(
            sorted((part(ACTIVATION, 1000), part(KEPT, 10 * times), part(WEIGHTS, 400)), key=lambda s: -s.num_bytes)
        )


def test_up_to_a_request_that_failed() -> None:
    """One request, and four a round: the seventh round's fourth request, its free, is never reached."""
    parts = peak_breakdown(leaky(7000), until_request=1 + 6 * 4 + 2)

    assert set(parts) == {part(ACTIVATION, 1000), part(KEPT, 60), part(WEIGHTS, 400)}


def test_an_empty_trace_has_no_peak() -> None:
    assert peak_breakdown(TraceBuilder("nothing").build()) == ()


def test_bytes_of_one_line_are_one_part() -> None:
    builder = TraceBuilder("two")
    builder.alloc(1, 5, note=WEIGHTS)
    builder.alloc(2, 7, note=WEIGHTS)
    builder.alloc(3, 0, note=KEPT)

    assert peak_breakdown(builder.build()) == (part(WEIGHTS, 12),)


def test_the_most_of_a_category_where_a_tensor_is_never_freed() -> None:
    builder = TraceBuilder("kept")
    builder.alloc("a", 100, note=ACTIVATION)
    builder.alloc(None, 7, note=KEPT)
    builder.free("a")
    builder.alloc("b", 50, note=ACTIVATION)
    builder.alloc("c", 1)

    assert most_by_category(builder.build()) == {"activation": 100, "temporary": 7, "other": 1}


@given(
    before=st.lists(st.integers(1, 50), max_size=4),
    kept=st.lists(st.integers(0, 20), max_size=3),
    passing=st.lists(st.integers(1, 90), max_size=4),
    times=st.integers(2, 9),
    data=st.data(),
)
def test_it_is_the_largest_moment_of_the_trace_played_request_by_request(
    before: list[int], kept: list[int], passing: list[int], times: int, data: st.DataObject
) -> None:
    builder = TraceBuilder("any")
    for number, size in enumerate(before):
        builder.alloc(("before", number), size, note=WEIGHTS)
    builder.begin_repeat(times)
    builder.call(Op.STEP)
    for number, size in enumerate(passing):
        builder.alloc(number, size, note=ACTIVATION)
        if number < len(kept):
            builder.alloc(None, kept[number], note=KEPT)
    for number in range(len(passing)):
        builder.free(number)
    builder.end_repeat()
    builder.alloc("last", 30, note=KEPT)
    trace = builder.build()
    until = data.draw(st.integers(0, len(trace)))

    parts = peak_breakdown(trace, until_request=until)

    assert sum(each.num_bytes for each in parts) == highest(trace, until)


def highest(trace: AllocationTrace, num_requests: int) -> int:
    """The peak by playing every request, one by one."""
    places = [place for part in trace.parts() for _ in range(part.times) for place in range(part.start, part.stop)]
    live: dict[int, int] = {}
    left = peak = 0
    for place in places[:num_requests]:
        if trace.ops[place] == Op.ALLOC and trace.slots[place] == NO_SLOT:
            left += trace.values[place]
        elif trace.ops[place] == Op.ALLOC:
            live[trace.slots[place]] = trace.values[place]
        elif trace.ops[place] == Op.FREE:
            live.pop(trace.slots[place])
        peak = max(peak, left + sum(live.values()))
    return peak
