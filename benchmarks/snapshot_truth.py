"""What a recorded CUDA memory snapshot says its program took, reduced to what a prediction is held against."""

import gzip
import json
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from benchmarks.request_differences import Request
from lrtool.memory.metrics import Peaks
from lrtool.memory.replay.replay import Scenario, replay
from lrtool.memory.snapshot.contents import Snapshot, checked_snapshot
from lrtool.memory.snapshot.convert import snapshot_trace
from lrtool.memory.snapshot.unpickle import load_snapshot
from lrtool.memory.trace.allocation_trace import AllocationTrace, Op


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotTruth:
    """Peaks in bytes while the snapshot was recorded, and every request in order."""

    name: str
    peaks: Peaks
    requests: tuple[Request, ...]


def truth_of(path: Path, scenario: Scenario) -> SnapshotTruth:
    """Of a gzip'd snapshot. Raises TraceError for one that cannot be read.

    Reserved memory is that of the snapshot's own segments. Blocks are as large as the allocator's rules make them at the
    addresses recorded: the trace has only what was asked for.
    """
    snapshot = checked_snapshot(load_snapshot(gzip.decompress(path.read_bytes()), name=path.name), name=path.name)
    trace = snapshot_trace(snapshot, name=path.name)
    replayed = replay(trace, scenario).peaks
    peaks = Peaks(
        allocated_bytes=replayed.allocated_bytes,
        reserved_bytes=_peak_reserved(snapshot),
        active_bytes=replayed.active_bytes,
        requested_bytes=replayed.requested_bytes,
    )
    return SnapshotTruth(name=path.name, peaks=peaks, requests=tuple(_requests(trace)))


def _peak_reserved(snapshot: Snapshot) -> int:
    end = sum(segment.size for segment in snapshot.segments)
    signs = {"segment_alloc": 1, "segment_map": 1, "segment_free": -1, "segment_unmap": -1}
    changes = [signs.get(event.action, 0) * event.size for event in snapshot.events]
    reserved = peak = end - sum(changes)
    for change in changes:
        reserved += change
        peak = max(peak, reserved)
    return peak


def _requests(trace: AllocationTrace) -> list[Request]:
    made = (index for index, op in enumerate(trace.ops) if op == Op.ALLOC)
    notes = ((trace.values[index], trace.note(index)) for index in made)
    return [Request(size_bytes=size, place=(note.source,) if note and note.source else ()) for size, note in notes]


def write_reduced(path: Path, truths: list[SnapshotTruth]) -> None:
    """Names, peaks, and sizes of requests as runs of a size and how often it comes in a row."""
    data = [
        {"name": each.name, "peaks": asdict(each.peaks), "runs": _runs([r.size_bytes for r in each.requests])}
        for each in truths
    ]
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        file.write(json.dumps(data, separators=(",", ":")).encode())


def read_reduced(path: Path) -> dict[str, SnapshotTruth]:
    """By name; places are not kept."""
    with gzip.open(path) as file:
        data = json.load(file)
    return {
        each["name"]: SnapshotTruth(
            name=each["name"],
            peaks=Peaks(**each["peaks"]),
            requests=tuple(
                chain.from_iterable([Request(size_bytes=size)] * count for size, count in each["runs"])
            ),
        )
        for each in data
    }  # fmt: skip


def _runs(sizes: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for size in sizes:
        if runs and runs[-1][0] == size:
            runs[-1] = (size, runs[-1][1] + 1)
        else:
            runs.append((size, 1))
    return runs
