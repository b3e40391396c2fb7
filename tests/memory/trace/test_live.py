"""What is live when, by a walk over the stored requests and by one over what happens."""

from lrtool.memory.trace.builder import TraceBuilder
from lrtool.memory.trace.live import walk, walk_as_played


def rounds() -> TraceBuilder:
    """Tensor `a` of 5 bytes takes its own place in each of 7 rounds, which leave 10 bytes behind and make 2 that pass."""
    builder = TraceBuilder("rounds")
    builder.alloc("a", 5)
    builder.begin_repeat(7)
    builder.free("a")
    builder.alloc("a", 5)
    builder.alloc(None, 10)
    builder.alloc("b", 2)
    builder.free("b")
    builder.end_repeat()
    return builder


def test_a_free_takes_away_what_was_last_allocated_in_its_slot() -> None:
    walked = walk(rounds().build())

    assert walked.changes.tolist() == [5, -5, 5, 10, 2, -2]
    assert walked.births.tolist() == [0, 0, 2, 3, 4, 4]
    assert [walked.live_after(count).tolist() for count in (0, 1, 2, 5, 6)] == [[], [0], [], [2, 3, 4], [2, 3]]


def test_what_the_rounds_in_the_middle_leave_behind_counts_for_each_of_them() -> None:
    trace = rounds().build()
    walked = walk_as_played(trace, len(trace) - 1)

    assert walked.changes[walked.live_after()].tolist() == [10, 40, 10, 5, 10, 2]
    assert not len(walk_as_played(trace, 0).requests)


def test_a_free_of_what_was_live_before_the_trace_is_left_out() -> None:
    builder = TraceBuilder("running")
    builder.adopt("old")
    builder.alloc("new", 3)
    builder.free("old")
    builder.alloc("next", 4)

    assert walk(builder.build()).changes.tolist() == [3, 4]
