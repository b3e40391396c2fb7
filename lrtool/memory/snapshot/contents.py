"""The parts of a CUDA memory snapshot that a replay needs, checked: of each device its events and its final segments."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

from lrtool.memory.snapshot.lines import own_line
from lrtool.memory.trace.allocation_trace import MAX_SIZE_BYTES, TraceError
from lrtool.memory.trace.text import plain_text

_T = TypeVar("_T")
Setting = bool | int | float | str
_HINT = "write it with torch.cuda.memory._dump_snapshot after _record_memory_history()"
_ACTIONS = frozenset(
    [
        "alloc",
        "free_requested",
        "free_completed",
        "segment_alloc",
        "segment_free",
        "segment_map",
        "segment_unmap",
        "oom",
    ]
)
_MARKS = frozenset(["snapshot", "user_defined"])
"""What torch writes into a trace that is no request."""
_STATES = frozenset(["active_allocated", "active_pending_free", "active_awaiting_free", "inactive"])
_KINDS: dict[type, str] = {dict: "dict", list: "list", str: "text", int: "number", bool: "truth value"}
_CONF = "PYTORCH_CUDA_ALLOC_CONF"
MAX_SETTINGS_TEXT = 4096
MAX_NUMBER = 2**63
MAX_LINE = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the device trace; sizes in bytes, `source` is the nearest line of the user's own code."""

    action: str
    address: int
    size: int
    stream: int
    source: str | None
    time_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalBlock:
    """A block as the snapshot shows it; `source` is the user's line that allocated it, where torch recorded that."""

    address: int
    size: int
    requested: int
    is_active: bool
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalSegment:
    """A segment, or a contiguous mapped range of an expandable one, as the snapshot shows it."""

    address: int
    size: int
    stream: int
    is_small: bool
    is_expandable: bool
    is_private: bool
    blocks: tuple[FinalBlock, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One device's part of a snapshot; `settings_shown` is what the allocator said was in force, where torch recorded that.

    `unknown_actions` counts the events of kinds that lrtool does not know. `others` are those of the file's other devices.
    """

    device: int
    events: list[Event]
    segments: list[FinalSegment]
    settings_shown: Mapping[str, Setting] | None
    unknown_actions: Mapping[str, int]
    others: tuple["Snapshot", ...] = ()

    @property
    def has_history(self) -> bool:
        """Whether it holds what led to its segments; a mark, or the end of a free from before, is no history."""
        return any(event.action not in ("", "oom", "free_completed") for event in self.events)

    @property
    def last_oom_us(self) -> int | None:
        """When memory last ran out, None where it never did; 0 where torch recorded no times."""
        return max((event.time_us for event in self.events if event.action == "oom"), default=None)

    @property
    def settings(self) -> str | None:
        """The configuration string of the recorded process."""
        conf = (self.settings_shown or {}).get(_CONF)
        return conf if isinstance(conf, str) else None


def checked_snapshot(data: Any, *, name: str) -> Snapshot:
    """The part of the device that tells most: that ran out of memory, last of all; else that has most events, or holds most.

    Raises TraceError naming the entry that is not as torch writes it. Of each value, the type is looked at first: to show,
    to compare or to walk through another one may take for ever.
    """
    traces, segments = _parts(data, name)
    own_segments = _by_device(segments, name)
    devices = sorted({*own_segments, *(number for number, events in enumerate(traces) if events)})
    if not devices:
        raise TraceError(f"{name}: the snapshot holds no events and no segments", hint=_HINT)
    sources = _Sources()
    settings = (
        None if type(data) is list else _entry(name, "allocator_settings", data.get("allocator_settings"), _settings)
    )
    blocks: set[int] = set()
    parts = [
        Snapshot(
            device=device,
            events=_events(name, traces, device, sources, unknown := Counter[str]()),
            segments=_final(name, own_segments.get(device, []), blocks, sources),
            settings_shown=settings,
            unknown_actions=unknown,
        )
        for device in devices
    ]
    chosen = max(parts, key=_tells)
    return replace(chosen, others=tuple(part for part in parts if part is not chosen))


def _events(name: str, traces: list[list[Any]], device: int, sources: "_Sources", unknown: Counter[str]) -> list[Event]:
    place = f"device {device}, event" if sum(map(bool, traces)) > 1 else "event"
    entries = traces[device] if device < len(traces) else []
    return [
        _entry(name, f"{place} {number}", raw, lambda raw: _event(raw, sources, unknown))
        for number, raw in _distinct(name, "event", entries)
    ]


def _final(
    name: str, entries: list[tuple[int, dict[str, Any]]], blocks: set[int], sources: "_Sources"
) -> list[FinalSegment]:
    final = [
        _entry(name, f"segment {number}", raw, lambda raw: _segment(raw, blocks, sources)) for number, raw in entries
    ]
    _check_places(name, [number for number, _ in entries], final)
    return final


def _parts(data: Any, name: str) -> tuple[list[Any], list[Any]]:
    """The traces of devices and the segments; torch.cuda.memory_snapshot() is a list of segments alone."""
    traces: Any = data.get("device_traces", []) if type(data) is dict else []
    segments: Any = data.get("segments") if type(data) is dict else data
    is_either = type(traces) is list and type(segments) is list and all(type(each) is list for each in traces)
    if not is_either or (type(data) is list and not all(type(each) is dict and "blocks" in each for each in data)):
        raise TraceError(f"{name}: no CUDA memory snapshot: it has no device_traces and segments", hint=_HINT)
    return traces, segments


def _by_device(segments: list[Any], name: str) -> dict[int, list[tuple[int, dict[str, Any]]]]:
    found: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    for number, raw in _distinct(name, "segment", segments):
        found.setdefault(_entry(name, f"segment {number}", raw, _device), []).append((number, raw))
    return found


def _tells(part: Snapshot) -> tuple[bool, int, int, int, int]:
    oom_us = part.last_oom_us
    held = sum(segment.size for segment in part.segments)
    return oom_us is not None, oom_us or 0, len(part.events), held, -part.device


def _entry(name: str, place: str, raw: Any, parse: Callable[[Any], _T]) -> _T:
    try:
        return parse(raw)
    except _Odd as odd:
        raise TraceError(f"{name}: {place} is not as torch writes it: {odd}", hint=_HINT) from None


class _Odd(Exception):
    """What is not as torch writes it."""


def _distinct(name: str, kind: str, entries: list[Any]) -> Iterator[tuple[int, Any]]:
    """The entries with their numbers. One entry in many places would stand for more than the file can hold."""
    first: dict[int, int] = {}
    for number, raw in enumerate(entries):
        before = first.setdefault(id(raw), number)
        if before != number and type(raw) is dict:
            raise TraceError(f"{name}: {kind} {number} is {kind} {before} once more", hint=_HINT)
        yield number, raw


class _Sources:
    """Finds the user's line in a stack; equal stacks are one object in a pickle, so each is searched once."""

    def __init__(self) -> None:
        self._found: dict[int, str | None] = {}

    def of(self, frames: Any) -> str | None:
        if frames is None:
            return None
        if id(frames) not in self._found:
            self._found[id(frames)] = next(filter(None, map(_own_line, _typed(frames, list, "its frames"))), None)
        return self._found[id(frames)]


def _own_line(frame: Any) -> str | None:
    frame = _typed(frame, dict, "a frame")
    filename = _typed(frame.get("filename"), str, "the file of a frame")
    line = _typed(frame.get("line"), int, "the line of a frame")
    own = own_line(filename, line)
    if own is not None and not 0 <= line < MAX_LINE:
        raise _Odd("the line of a frame is none")
    return own


def _event(raw: Any, sources: _Sources, unknown: Counter[str]) -> Event:
    raw = _typed(raw, dict, "it")
    action = _typed(raw.get("action"), str, "its action")
    if action not in _ACTIONS:
        if action not in _MARKS:
            unknown[plain_text(action)[:40]] += 1
        return Event(action="", address=0, size=0, stream=0, source=None)
    address = raw.get("addr", raw.get("device_free")) if action == "oom" else raw.get("addr")
    event = Event(
        action=action,
        address=_number(address, "its address"),
        size=_size(raw.get("size"), "its size"),
        stream=_number(raw.get("stream", 0), "its stream"),
        source=sources.of(raw.get("frames")) if action in ("alloc", "oom") else None,
        time_us=_time(raw.get("time_us")) if action == "oom" else 0,
    )
    if action == "oom":
        _size(address, "what was free on the device")
    elif event.address + event.size >= MAX_NUMBER:
        raise _Odd("it ends beyond the last address")
    if not event.size and action.startswith("segment"):
        raise _Odd("its size is 0")
    return event


def _time(raw: Any) -> int:
    return 0 if raw is None else _number(raw, "its time")


def _device(raw: Any) -> int:
    return _number(_typed(raw, dict, "it").get("device", 0), "its device")


def _segment(raw: dict[str, Any], seen: set[int], sources: "_Sources") -> FinalSegment:
    """A segment; `seen` are the lists of blocks that others have."""
    address, total = _number(raw.get("address"), "its address"), _size(raw.get("total_size"), "its size")
    entries = _typed(raw.get("blocks"), list, "its blocks")
    if id(entries) in seen:
        raise _Odd("its blocks are those of another segment")
    seen.add(id(entries))
    if not entries:
        raise _Odd("it has no blocks")
    blocks, position = [], address
    for entry in entries:
        block = _block(entry, position, sources)
        blocks.append(block)
        position += block.size
    if position != address + total:
        raise _Odd("its blocks do not add up to its size")
    if position >= MAX_NUMBER:
        raise _Odd("it ends beyond the last address")
    kind = _typed(raw.get("segment_type"), str, "its type")
    if kind not in ("small", "large"):
        raise _Odd("its type is neither small nor large")
    return FinalSegment(
        address=address,
        size=total,
        stream=_number(raw.get("stream", 0), "its stream"),
        is_small=kind == "small",
        is_expandable=_typed(raw.get("is_expandable", False), bool, "whether it is expandable"),
        is_private=_pool(raw.get("segment_pool_id", (0, 0))) != (0, 0),
        blocks=tuple(blocks),
    )


def _block(raw: Any, position: int, sources: "_Sources") -> FinalBlock:
    raw = _typed(raw, dict, "a block")
    size = _size(raw.get("size"), "the size of a block")
    state = _typed(raw.get("state"), str, "the state of a block")
    if state not in _STATES:
        raise _Odd("the state of a block is none that torch has")
    if not size:
        raise _Odd("a block has size 0")
    if _number(raw.get("address", position), "the address of a block") != position:
        raise _Odd(f"a block does not begin at {position:#x}, where the one before it ends")
    requested = _size(raw.get("requested_size", size), "what was requested of a block")
    is_active = state != "inactive"
    if is_active and requested > size:
        raise _Odd(f"the block at {position:#x} is smaller than what was requested of it")
    return FinalBlock(
        address=position,
        size=size,
        requested=requested if is_active else 0,
        is_active=is_active,
        source=_block_source(raw, sources) if is_active else None,
    )


def _block_source(raw: dict[str, Any], sources: "_Sources") -> str | None:
    """Of torch 2.0, the last of a block's history has its frames."""
    history = raw.get("history")
    if history is None:
        return sources.of(raw.get("frames"))
    last = _typed(history, list, "the history of a block")[-1:]
    return sources.of(_typed(last[0], dict, "the history of a block").get("frames")) if last else None


def _pool(raw: Any) -> tuple[int, int]:
    if type(raw) not in (tuple, list) or len(raw) != 2:
        raise _Odd("its pool is no pair of numbers")
    return _number(raw[0], "its pool"), _number(raw[1], "its pool")


def _check_places(name: str, numbers: Iterable[int], segments: list[FinalSegment]) -> None:
    ordered = sorted(zip(segments, numbers, strict=True), key=lambda each: each[0].address)
    for (one, number), (other, following) in pairwise(ordered):
        if one.address + one.size > other.address:
            raise TraceError(f"{name}: segment {following} overlaps segment {number}", hint=_HINT)
    if sum(segment.size for segment in segments) > MAX_SIZE_BYTES:
        raise TraceError(f"{name}: its segments hold over 256 TiB, which no device has", hint=_HINT)


def _settings(raw: Any) -> dict[str, Setting] | None:
    """What is one number or text of them; options with parts of their own are not compared with anything."""
    if raw is None:
        return None
    conf = _typed(raw, dict, "it").get(_CONF, "")
    if len(_typed(conf, str, _CONF)) > MAX_SETTINGS_TEXT or not conf.isprintable():
        raise _Odd(f"{_CONF} is no line of settings")
    return {name: value for name, value in raw.items() if _is_setting(value)}


def _is_setting(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < MAX_NUMBER
    return type(value) in (bool, float) or (type(value) is str and value == plain_text(value))


def _typed(value: Any, kind: type[_T], what: str) -> _T:
    if type(value) is not kind:
        raise _Odd(f"{what} is missing" if value is None else f"{what} is no {_KINDS[kind]}")
    return value


def _number(value: Any, what: str) -> int:
    if type(value) is not int:
        raise _Odd(f"{what} is missing" if value is None else f"{what} is no number")
    if not 0 <= value < MAX_NUMBER:
        raise _Odd(f"{what} is {'negative' if value < 0 else 'over 63 bits long'}")
    return value


def _size(value: Any, what: str) -> int:
    if type(value) is not int:
        raise _Odd(f"{what} is missing" if value is None else f"{what} is no number")
    if not 0 <= value <= MAX_SIZE_BYTES:
        raise _Odd(f"{what} is {'negative' if value < 0 else 'over 256 TiB'}")
    return value
