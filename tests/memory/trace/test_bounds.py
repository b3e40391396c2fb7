"""A trace whose sizes are estimates, at either end."""

from lrtool.memory.trace.allocation_trace import AllocationTrace, Note
from lrtool.memory.trace.bounds import at_end, has_estimates
from lrtool.memory.trace.builder import TraceBuilder


def built(note: Note | None) -> AllocationTrace:
    builder = TraceBuilder()
    builder.alloc("known", 4096)
    builder.alloc("estimated", 1024, note=note)
    builder.free("known")
    return builder.build()


def test_estimated_sizes_alone_are_changed() -> None:
    trace = built(Note(low_bytes=512, high_bytes=8192))
    assert has_estimates(trace)
    assert list(at_end(trace, "low").values)[:2] == [4096, 512]
    assert list(at_end(trace, "high").values)[:2] == [4096, 8192]


def test_a_size_with_one_end_keeps_the_other() -> None:
    assert list(at_end(built(Note(high_bytes=8192)), "low").values)[:2] == [4096, 1024]


def test_a_trace_without_estimates_is_as_it_was() -> None:
    trace = built(None)
    assert not has_estimates(trace)
    assert at_end(trace, "high") == trace
