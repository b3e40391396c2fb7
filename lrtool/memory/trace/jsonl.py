"""Allocation traces as JSON lines: one object per line, each with an "op".

    {"op": "alloc", "id": "a", "size": 1048576}   optional: "stream", "phase", "category", "source" ("train.py:41");
                                                  "id": null is never freed
    {"op": "free", "id": "a"}
    {"op": "record_stream", "id": "a", "stream": 1}
    {"op": "advance"}                             the GPU has finished all that was queued; optional: "stream".
                                                  A trace without any "advance" has events that finish at once
    {"op": "empty_cache"}, {"op": "reset_peak"}, {"op": "reset_accumulated"}
    {"op": "set_memory_fraction", "fraction": 0.9}
    {"op": "set_limit", "bytes": 1073741824}      what the device has left for this process
    {"op": "settings", "conf": "expandable_segments:True"}
    {"op": "step"}                                a training step begins here
    {"op": "repeat", "times": 7000}               the lines up to {"op": "end_repeat"} happen that many times; a round
                                                  must leave the ids allocated that it found. Repeats do not nest

Empty lines are skipped. An id is a string or a whole number and may be used again once it is freed.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, cast

from lrtool.errors import did_you_mean
from lrtool.memory.trace.allocation_trace import AllocationTrace, Note, Op, TraceError
from lrtool.memory.trace.builder import TraceBuilder
from lrtool.memory.trace.text import plain_text

MAX_LINE_BYTES = 2**20
_NOTE_FIELDS = ("phase", "category", "source", "operator")
_UNPACK = "if you trust it, unpack it first, with gunzip"
_Line = dict[str, Any]


def parse_jsonl(file: BinaryIO, *, name: str, max_lines: int | None = None) -> AllocationTrace:
    """The trace written in `file`. Raises TraceError naming `name` and the line."""
    builder = TraceBuilder(name)
    number, opened = 0, 0
    for number, line in _lines(file, name):
        try:
            if max_lines is not None and number > max_lines:
                raise TraceError("more lines than a compressed file of its size may hold", hint=_UNPACK)
            request = _parse_line(line)
            if request is None:
                continue
            opened = number if request["op"] == "repeat" else opened
            _REQUESTS[request["op"]](builder, request)
        except TraceError as error:
            raise TraceError(f"{name}:{number}: {error.message}", hint=error.hint) from None
    if len(builder) == 0:
        raise TraceError(
            f"{name}:{max(number, 1)}: no requests in it", hint="a trace has one JSON object per line, each with an op"
        )
    try:
        return builder.build()
    except TraceError as error:
        raise TraceError(f"{name}:{opened}: {error.message}", hint=error.hint) from None


def _lines(file: BinaryIO, name: str) -> Iterable[tuple[int, bytes]]:
    number = 0
    while True:
        try:
            line = file.readline(MAX_LINE_BYTES + 1)
        except (OSError, EOFError) as error:
            raise TraceError(f"{name}:{number + 1}: cannot be read on: {error}", hint="the file is damaged") from None
        if not line:
            return
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise TraceError(f"{name}:{number}: a line of over 1 MiB", hint="a trace has one request per line")
        yield number, line


def _parse_line(line: bytes) -> _Line | None:
    text = line.strip()
    if not text:
        return None
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        raise TraceError("not a JSON object", hint="is the file cut off, or of another kind?") from None
    if not isinstance(request, dict) or not isinstance(request.get("op"), str):
        raise TraceError("no request: an object with an op is expected", hint='like {"op": "free", "id": "7"}')
    if request["op"] not in _REQUESTS:
        raise TraceError(f"unknown op {request['op'][:40]!r}", hint=did_you_mean(request["op"][:40], _REQUESTS))
    return request


def _integer(request: _Line, key: str) -> int:
    value = request.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TraceError(f"{request['op']}: {key} is {_shown(value)}", hint=f"{key} must be a whole number")
    return value


def _key(request: _Line) -> str | int:
    key = request.get("id")
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TraceError(f"{request['op']}: id is {_shown(key)}", hint="an id is a string or a whole number")
    return key


def _text(request: _Line, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise TraceError(f"{request['op']}: {key} is {_shown(value)}", hint=f"{key} must be a string")
    if any("\ud800" <= each <= "\udfff" for each in ("" if value.isascii() else value)):
        raise TraceError(f"{request['op']}: {key} is {_shown(value)}", hint="half of a character is no text")
    return value


def _shown(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _alloc(builder: TraceBuilder, request: _Line) -> None:
    key = None if request.get("id", "") is None else _key(request)
    stream = _integer(request, "stream") if "stream" in request else 0
    texts = {field: plain_text(_text(request, field)) for field in _NOTE_FIELDS if field in request}
    builder.alloc(key, _integer(request, "size"), stream=stream, note=Note(**cast(Any, texts)) if texts else None)


def _advance(builder: TraceBuilder, request: _Line) -> None:
    builder.advance(_integer(request, "stream") if "stream" in request else None)


def _memory_fraction(builder: TraceBuilder, request: _Line) -> None:
    fraction = request.get("fraction")
    if isinstance(fraction, bool) or not isinstance(fraction, int | float):
        raise TraceError(f"set_memory_fraction: fraction is {_shown(fraction)}", hint="it must be a number")
    builder.set_memory_fraction(fraction)


def _call(op: Op) -> Callable[[TraceBuilder, _Line], None]:
    return lambda builder, _request: builder.call(op)


_REQUESTS: dict[str, Callable[[TraceBuilder, _Line], None]] = {
    "alloc": _alloc,
    "free": lambda builder, request: builder.free(_key(request)),
    "record_stream": lambda builder, request: builder.record_stream(_key(request), _integer(request, "stream")),
    "advance": _advance,
    "empty_cache": _call(Op.EMPTY_CACHE),
    "reset_peak": _call(Op.RESET_PEAK),
    "reset_accumulated": _call(Op.RESET_ACCUMULATED),
    "set_memory_fraction": _memory_fraction,
    "set_limit": lambda builder, request: builder.set_limit(_integer(request, "bytes")),
    "settings": lambda builder, request: builder.change_settings(_text(request, "conf")),
    "step": _call(Op.STEP),
    "repeat": lambda builder, request: builder.begin_repeat(_integer(request, "times")),
    "end_repeat": lambda builder, _request: builder.end_repeat(),
}
