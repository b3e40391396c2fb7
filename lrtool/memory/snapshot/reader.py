"""Opens an allocation trace of either kind: JSON lines or a CUDA memory snapshot, plain or gzip'd."""

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from lrtool.memory.snapshot.contents import Snapshot, checked_snapshot
from lrtool.memory.snapshot.convert import snapshot_trace
from lrtool.memory.snapshot.unpickle import load_snapshot
from lrtool.memory.trace.allocation_trace import AllocationTrace, TraceError
from lrtool.memory.trace.jsonl import parse_jsonl

_GZIP_MAGIC = b"\x1f\x8b"
_PICKLE_STARTS = b"\x80(]}"


def read_trace(path: Path) -> AllocationTrace:
    """The trace in `path`, whichever of the known kinds it is. Raises TraceError naming file and line."""
    return read_trace_and_snapshot(path)[0]


def read_trace_and_snapshot(path: Path) -> tuple[AllocationTrace, Snapshot | None]:
    """The trace in `path`, and the snapshot that it is; None for JSON lines. Raises TraceError."""
    try:
        with path.open("rb") as file:
            return _read(file, path.name)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"{path}: {reason}", hint="is it a trace, and complete?") from None


def _read(file: BinaryIO, name: str) -> tuple[AllocationTrace, Snapshot | None]:
    magic = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    source = file if magic != _GZIP_MAGIC else cast(BinaryIO, gzip.GzipFile(fileobj=file))
    content = io.BufferedReader(cast(io.RawIOBase, source))
    first = content.peek(1).lstrip()[:1]
    if first and first in _PICKLE_STARTS:
        snapshot = checked_snapshot(load_snapshot(content, name=name), name=name)
        return snapshot_trace(snapshot, name=name), snapshot
    if first not in (b"", b"{"):
        raise TraceError(
            f"{name}:1: neither JSON lines nor a CUDA memory snapshot",
            hint='a trace starts with a line like {"op": "alloc", "id": "1", "size": 512}',
        )
    return parse_jsonl(cast(BinaryIO, content), name=name), None
