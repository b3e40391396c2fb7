"""What the segments of a snapshot show by themselves, and what its other devices hold."""

from collections import Counter
from collections.abc import Iterator

from lrtool.diagnosis.run_figures import Held
from lrtool.memory.replay.replay import replay
from lrtool.memory.snapshot.contents import FinalSegment, Snapshot
from lrtool.memory.snapshot.convert import snapshot_trace
from lrtool.memory.trace.allocation_trace import AllocationTrace, TraceError
from lrtool.results import DeviceMemory
from lrtool.units import format_bytes

MAX_BLOCKS = 5


def held_by(snapshot: Snapshot) -> Held:
    """The device's segments as they are."""
    segments = snapshot.segments
    free = [
        (block.size, len(segment.blocks) > 1) for segment in segments for block in segment.blocks if not block.is_active
    ]
    reserved = sum(segment.size for segment in segments)
    return Held(
        num_segments=len(segments),
        reserved_bytes=reserved,
        active_bytes=reserved - sum(size for size, _ in free),
        split_bytes=sum(size for size, is_split in free if is_split),
        largest_free_bytes=max((size for size, _ in free), default=0),
        largest_blocks=tuple(_largest_blocks(segments)),
    )


def _largest_blocks(segments: list[FinalSegment]) -> Iterator[str]:
    """Equal ones of one line together."""
    blocks = (block for segment in segments for block in segment.blocks if block.is_active)
    counts = Counter((block.size, block.source) for block in blocks)
    for (size, source), count in sorted(counts.items(), key=lambda each: (-each[0][0], each[0][1] or ""))[:MAX_BLOCKS]:
        times = f"{count:,} x " if count > 1 else ""
        yield f"{times}{format_bytes(size)}{f' from {source}' if source else ''}"


def devices_of(snapshot: Snapshot, trace: AllocationTrace) -> Iterator[DeviceMemory]:
    """The peaks of each device of a snapshot that has several; `trace` is that of the one that is told."""
    if not snapshot.others:
        return
    traces: dict[int, tuple[Snapshot, AllocationTrace | None]] = {snapshot.device: (snapshot, trace)}
    traces |= {each.device: (each, None) for each in snapshot.others}
    for device, (part, requests) in sorted(traces.items()):
        allocated_bytes, reserved_bytes = _peaks(part, requests)
        yield DeviceMemory(
            device=f"cuda:{device}",
            peak_allocated_bytes=allocated_bytes,
            peak_reserved_bytes=reserved_bytes,
            runs_out=part.last_oom_us is not None,
        )


def _peaks(part: Snapshot, trace: AllocationTrace | None) -> tuple[int, int]:
    """Allocated and reserved bytes; where another device's history is incomplete, what its segments show."""
    try:
        peaks = replay(snapshot_trace(part, name="") if trace is None else trace).peaks
    except TraceError:
        held = held_by(part)
        return held.active_bytes, held.reserved_bytes
    return peaks.allocated_bytes, peaks.reserved_bytes
