"""Recordings of the real allocator, real snapshots, and where to find them."""

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.replay.player import Player
from lrtool.memory.replay.replay import Scenario, build_allocator
from lrtool.memory.replay.timeline import per_op_rows, stored_order
from lrtool.memory.snapshot.contents import Event, checked_snapshot
from lrtool.memory.snapshot.reader import read_trace
from lrtool.memory.snapshot.unpickle import load_snapshot
from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from lrtool.memory.trace.jsonl import parse_jsonl
from tests import DATA, ROOT

SHARED = ROOT.parent / "shared" / "data"
RECORDINGS = sorted((DATA / "allocator").glob("*.json.gz"))
SNAPSHOTS = sorted((DATA / "snapshots").glob("*.pickle.gz"))

# The snapshots were written by releases which break ties by address.
SNAPSHOT_VERSION = TorchVersion(2, 9)


def shared_snapshots() -> list[Any]:
    """Those with a history of events, as parameters: without one there is nothing to reproduce."""
    rows = [row for index in (SHARED / "cuda-snapshots").glob("index*.csv") for row in csv.DictReader(index.open())]
    with_history = {row["file"] for row in rows if int(row["events"] or 0) > 1}
    return shared("cuda-snapshots", "*.pickle.gz", wanted=with_history.__contains__)


def shared(folder: str, pattern: str, *, wanted: Callable[[str], bool] = lambda name: True) -> list[Any]:
    """The files of a shared folder as parameters; one skipped parameter where the folder is absent."""
    files = sorted(file for file in (SHARED / folder).glob(pattern) if wanted(file.name))
    if not files:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{SHARED / folder} is not here"))]
    return [pytest.param(file, id=file.name.removesuffix(".gz")) for file in files]


def stat_key(column: str) -> str:
    """A recorded column under its memory_stats name: "active.peak" is "active.all.peak"."""
    name, _, rest = column.partition(".")
    return (
        f"{name}.all.{rest}" if rest in ("current", "peak", "allocated", "freed") and "oversize" not in name else column
    )


def first_difference(path: Path) -> str | None:
    """Where a replay of the recording departs from what the real allocator answered, or None."""
    recorded = json.loads(gzip.decompress(path.read_bytes()))
    meta, requests = recorded["meta"], recorded["requests"]
    trace = parse_jsonl(BytesIO("\n".join(map(json.dumps, requests)).encode()), name=path.name)
    scenario = Scenario(settings=meta["conf"], capacity_bytes=meta["total_bytes"], no_caching=meta["no_caching"])
    for index, row in enumerate(per_op_rows(trace, scenario)):
        stats = row["stats"]
        assert isinstance(stats, dict)
        expected = {stat_key(column): values[index] for column, values in recorded["stats"].items()}
        wrong = {key: stats.get(key, 0) for key in expected if stats.get(key, 0) != expected[key]}
        if wrong and not meta["no_caching"]:
            return f"request {index} {requests[index]}: {wrong}"
        if (row["status"], row["where"]) != (recorded["status"][index], recorded["where"][index]):
            return f"request {index} {requests[index]}: {row['status']} at {row['where']}"
    return None


@dataclass(frozen=True)
class SnapshotCheck:
    """How a replay of a snapshot compares with what the GPU's allocator did."""

    trace: AllocationTrace
    num_allocs: int
    num_misplaced: int
    num_wrong_segments: int
    peak_reserved_bytes: int
    recorded_peak_reserved_bytes: int


def check_snapshot(path: Path) -> SnapshotCheck:
    """Replay a snapshot and compare each placement and each new segment with its trace."""
    trace = read_trace(path)
    data = load_snapshot(gzip.decompress(path.read_bytes()), name=path.name)
    events = checked_snapshot(data, name=path.name).events
    player = Player(trace, build_allocator(trace, Scenario(version=SNAPSHOT_VERSION)))
    log = player.allocator.device.log = []
    expected = _placements(events)
    misplaced = wrong_segments = 0
    for index in stored_order(trace):
        log.clear()
        player.play_range(index, index + 1)
        if trace.ops[index] == Op.ALLOC:
            address, segment_sizes = next(expected)
            block = player.live[trace.slots[index]]
            misplaced += block is None or block.address != address
            wrong_segments += [entry[3] for entry in log if entry[0] == "segment_alloc"] != segment_sizes
    return SnapshotCheck(
        trace=trace,
        num_allocs=trace.ops.count(Op.ALLOC),
        num_misplaced=misplaced,
        num_wrong_segments=wrong_segments,
        peak_reserved_bytes=player.allocator.statistics.overall.reserved_bytes_peak,
        recorded_peak_reserved_bytes=_peak_reserved(events, trace),
    )


def _placements(events: list[Event]) -> Any:
    """(address, sizes of the segments made for it) of each recorded alloc."""
    sizes: list[int] = []
    for event in events:
        if event.action == "segment_alloc":
            sizes.append(event.size)
        elif event.action == "alloc":
            yield event.address, sizes
            sizes = []


def _peak_reserved(events: list[Event], trace: AllocationTrace) -> int:
    reserved = peak = trace.start.reserved_bytes if trace.start is not None else 0
    for event in events:
        change = {"segment_alloc": event.size, "segment_free": -event.size}.get(event.action, 0)
        reserved += change
        peak = max(peak, reserved)
    return peak
