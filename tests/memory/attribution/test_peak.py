"""What the peak of a stream consists of, also where rounds repeat and leave something behind."""

from hypothesis import given
from hypothesis import strategies as st

from lrtool.memory.attribution.peak import LiveShare, most_by_category, shares_at_peak
from lrtool.memory.trace.allocation_trace import NO_SLOT, AllocationTrace, Note, Op
from lrtool.memory.trace.builder import TraceBuilder

WEIGHTS, ACTIVATION, KEPT = (
    Note(category=category, source=source)
    for category, source in (("parameter", "m.py:3"), ("activation", "m.py:9"), ("temporary", "m.py:12"))
)


def share(note: Note, num_bytes: int) -> LiveShare:
    return LiveShare(category=note.category, module=note.module, source=note.source, num_bytes=num_bytes)


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
        assert shares_at_peak(leaky(times)) == tuple(
            sorted((share(ACTIVATION, 1000), share(KEPT, 10 * times), share(WEIGHTS, 400)), key=lambda s: -s.num_bytes)
        )


def test_up_to_a_request_that_failed() -> None:
    """One request, and four a round: the seventh round's fourth request, its free, is never reached."""
    shares = shares_at_peak(leaky(7000), until_request=1 + 6 * 4 + 2)

    assert set(shares) == {share(ACTIVATION, 1000), share(KEPT, 60), share(WEIGHTS, 400)}


def test_an_empty_stream_has_no_peak() -> None:
    assert shares_at_peak(TraceBuilder("nothing").build()) == ()


def test_bytes_of_one_line_are_one_share() -> None:
    builder = TraceBuilder("two")
    builder.alloc(1, 5, note=WEIGHTS)
    builder.alloc(2, 7, note=WEIGHTS)
    builder.alloc(3, 0, note=KEPT)

    assert shares_at_peak(builder.build()) == (share(WEIGHTS, 12),)


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
def test_it_is_the_largest_moment_of_the_stream_played_request_by_request(
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
    stream = builder.build()
    until = data.draw(st.integers(0, len(stream)))

    shares = shares_at_peak(stream, until_request=until)

    assert sum(each.num_bytes for each in shares) == highest(stream, until)


def highest(stream: AllocationTrace, num_requests: int) -> int:
    """The peak by playing every request, one by one."""
    places = [place for part in stream.parts() for _ in range(part.times) for place in range(part.start, part.stop)]
    live: dict[int, int] = {}
    left = peak = 0
    for place in places[:num_requests]:
        if stream.ops[place] == Op.ALLOC and stream.slots[place] == NO_SLOT:
            left += stream.values[place]
        elif stream.ops[place] == Op.ALLOC:
            live[stream.slots[place]] = stream.values[place]
        elif stream.ops[place] == Op.FREE:
            live.pop(stream.slots[place])
        peak = max(peak, left + sum(live.values()))
    return peak
