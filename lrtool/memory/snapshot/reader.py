"""Opens an allocation trace of either kind: JSON lines or a CUDA memory snapshot, plain or gzip'd, a file or a pipe."""

import gzip
import io
import os
import stat
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from lrtool.memory.snapshot.contents import Snapshot, checked_snapshot
from lrtool.memory.snapshot.convert import snapshot_trace
from lrtool.memory.snapshot.unpickle import load_snapshot
from lrtool.memory.trace.allocation_trace import AllocationTrace, TraceError
from lrtool.memory.trace.jsonl import parse_jsonl
from lrtool.memory.trace.text import plain_text

MAX_PICKLE_BYTES = 2**31
MAX_PIPE_BYTES = 2**29
"""A pipe is read to its end before anything else, for one without an end to be noticed."""
MIN_UNPACKED_BYTES = 2**24
MAX_RATIO = 40
"""Snapshots shrink to a 4th, and at most to a 36th, when they are compressed; what shrinks more is no recording."""
FREE_OBJECTS = 500_000
OBJECTS_PER_BYTE = 3
_CHUNK_BYTES = 2**20
_GZIP_MAGIC = b"\x1f\x8b"
_PICKLE_STARTS = b"\x80(]}"


def read_trace(path: Path) -> AllocationTrace:
    """The trace in `path`, whichever of the known kinds it is. Raises TraceError naming file and line."""
    return read_trace_and_snapshot(path)[0]


def read_trace_and_snapshot(path: Path) -> tuple[AllocationTrace, Snapshot | None]:
    """The trace in `path`, and the snapshot that it is; None for JSON lines. Raises TraceError."""
    name = plain_text(path.name)
    try:
        with _opened(path) as file:
            return _read(file, name)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"{plain_text(str(path))}: {reason}", hint="is it a trace, and complete?") from None
    except TraceError:
        raise
    except Exception as error:  # MemoryError too: what a file says is no defect of lrtool
        raise TraceError(
            f"{name}: not a snapshot lrtool can read ({type(error).__name__})",
            hint="only what torch.cuda.memory._dump_snapshot writes is read",
        ) from None


def _opened(path: Path) -> BinaryIO:
    """A regular file, or all that a pipe has to say: it cannot be read twice. Raises TraceError for a device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError as error:  # a zero byte in the name
        raise TraceError(f"{plain_text(str(path))}: {error}", hint="name a file") from None
    mode = os.fstat(descriptor).st_mode
    try:
        file = cast(BinaryIO, os.fdopen(descriptor, "rb"))
    except OSError:  # a folder
        os.close(descriptor)
        raise
    if stat.S_ISREG(mode):
        return file
    with file:
        if stat.S_ISFIFO(mode):
            return _read_up(file, path)
    raise TraceError(f"{plain_text(str(path))}: it is a device", hint="give a file, or a pipe")


def _read_up(pipe: BinaryIO, path: Path) -> BinaryIO:
    content = io.BytesIO()
    while chunk := pipe.read(_CHUNK_BYTES):
        content.write(chunk)
        if content.tell() > MAX_PIPE_BYTES:
            raise TraceError(
                f"{plain_text(str(path))}: over {MAX_PIPE_BYTES // 2**20} MiB through a pipe",
                hint="write it to a file first, and give that",
            )
    content.seek(0)
    return content


def _read(file: BinaryIO, name: str) -> tuple[AllocationTrace, Snapshot | None]:
    is_packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    stored_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    source = _Unpacked(file, stored_bytes, name) if is_packed else file
    max_objects = FREE_OBJECTS + OBJECTS_PER_BYTE * stored_bytes if is_packed else None
    content = io.BufferedReader(cast(io.RawIOBase, source), _CHUNK_BYTES)
    first = content.peek(1).lstrip()[:1]
    if first and first in _PICKLE_STARTS:
        data = load_snapshot(_read_all(content, name), name=name, max_objects=max_objects)
        snapshot = checked_snapshot(data, name=name)
        return snapshot_trace(snapshot, name=name), snapshot
    if first not in (b"", b"{"):
        raise TraceError(
            f"{name}:1: neither JSON lines nor a CUDA memory snapshot",
            hint='a trace starts with a line like {"op": "alloc", "id": "1", "size": 512}',
        )
    return parse_jsonl(cast(BinaryIO, content), name=name, max_lines=max_objects), None


class _Unpacked(io.RawIOBase):
    """A gzip'd file unpacked, as long as it does not grow beyond what a recording would."""

    def __init__(self, file: BinaryIO, stored_bytes: int, name: str) -> None:
        self._file = gzip.GzipFile(fileobj=file)
        self._left = max(MIN_UNPACKED_BYTES, MAX_RATIO * stored_bytes)
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise TraceError(
                f"{self._name}: it unpacks to over {MAX_RATIO} times its size",
                hint="if you trust it, unpack it first, with gunzip",
            )
        return count


def _read_all(file: io.BufferedIOBase, name: str) -> bytes:
    data = file.read(MAX_PICKLE_BYTES + 1)
    if len(data) > MAX_PICKLE_BYTES:
        raise TraceError(
            f"{name}: over 2 GiB unpacked", hint="record fewer events: _record_memory_history(max_entries=)"
        )
    return data
