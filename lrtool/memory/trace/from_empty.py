"""A recording that begins in the middle of a process, as if it began on an empty device."""

from array import array
from dataclasses import replace

from lrtool.memory.trace.allocation_trace import NO_NOTE, AllocationTrace, FailedRequest, Op


def from_empty(trace: AllocationTrace) -> AllocationTrace:
    """What was live at its start is asked for first, in the order of addresses: nobody recorded in which it really was."""
    if trace.start is None:
        return trace
    live = [(segment.stream, block) for segment in trace.start.segments for block in segment.blocks]
    live.sort(key=lambda each: each[1].address)
    count = len(live)
    return replace(
        trace,
        ops=bytes([Op.ALLOC]) * count + trace.ops,
        slots=array("i", [block.slot for _, block in live]) + trace.slots,
        values=array("q", [block.requested for _, block in live]) + trace.values,
        streams=array("q", [stream for stream, _ in live]) + trace.streams,
        notes=array("i", [NO_NOTE]) * count + trace.notes,
        repeats=tuple(replace(each, start=each.start + count, stop=each.stop + count) for each in trace.repeats),
        start=None,
        recorded_segments=(),
        recorded_oom=_later(trace.recorded_oom, count),
    )


def _later(failed: FailedRequest | None, count: int) -> FailedRequest | None:
    return (
        None
        if failed is None
        else replace(failed, request=failed.request + count, earlier=tuple(each + count for each in failed.earlier))
    )
