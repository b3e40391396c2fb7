"""The parts of a CUDA memory snapshot that a replay needs, checked: events of one device, and its final segments."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from lrtool.memory.trace.allocation_trace import MAX_SIZE_BYTES, TraceError

_T = TypeVar("_T")
_HINT = "write it with torch.cuda.memory._dump_snapshot after _record_memory_history()"
_LIBRARY_PATHS = ("/torch/", "site-packages/", "dist-packages/", "<frozen", "/lib/python", "??")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the device trace; sizes in bytes, `source` is the nearest line of the user's own code."""

    action: str
    address: int
    size: int
    stream: int
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalBlock:
    """A block as the snapshot shows it."""

    address: int
    size: int
    requested: int
    is_active: bool


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
    """One device's part of a snapshot; `settings_shown` is what the allocator said was in force, where torch recorded that."""

    device: int
    events: list[Event]
    segments: list[FinalSegment]
    settings_shown: dict[str, Any] | None

    @property
    def settings(self) -> str | None:
        """The configuration string of the recorded process."""
        conf = (self.settings_shown or {}).get("PYTORCH_CUDA_ALLOC_CONF")
        return conf if isinstance(conf, str) else None


def checked_snapshot(data: Any, *, name: str) -> Snapshot:
    """The part of the device with most events. Raises TraceError naming the entry that is not as torch writes it."""
    try:
        traces, segments = data["device_traces"], data["segments"]
        if not isinstance(traces, list) or not isinstance(segments, list):
            raise TypeError
        device = max(range(len(traces)), key=lambda each: len(traces[each]))
    except (TypeError, KeyError, IndexError, ValueError):
        raise TraceError(f"{name}: no CUDA memory snapshot: it has no device_traces and segments", hint=_HINT) from None
    if not traces[device]:
        raise TraceError(f"{name}: the snapshot holds no events", hint=_HINT)
    sources = _Sources()
    events = [_entry(name, f"event {i}", raw, lambda raw: _event(raw, sources)) for i, raw in enumerate(traces[device])]
    own = [raw for raw in segments if not isinstance(raw, dict) or raw.get("device", 0) == device]
    return Snapshot(
        device=device,
        events=events,
        segments=[_entry(name, f"segment {i}", raw, _segment) for i, raw in enumerate(own)],
        settings_shown=_settings_shown(data),
    )


def _settings_shown(data: Any) -> dict[str, Any] | None:
    known = data.get("allocator_settings") if isinstance(data, dict) else None
    return known if isinstance(known, dict) else None


def _entry(name: str, place: str, raw: Any, parse: Callable[[Any], _T]) -> _T:
    try:
        return parse(raw)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise TraceError(f"{name}: {place} is not as torch writes it: {error}"[:200], hint=_HINT) from None


class _Sources:
    """Finds the user's line in a stack; equal stacks are one object in a pickle, so each is searched once."""

    def __init__(self) -> None:
        self._found: dict[int, str | None] = {}

    def of(self, frames: Any) -> str | None:
        if not isinstance(frames, list):
            return None
        if id(frames) not in self._found:
            self._found[id(frames)] = next(filter(None, map(_own_line, frames)), None)
        return self._found[id(frames)]


def _own_line(frame: Any) -> str | None:
    filename = str(frame["filename"])
    if not filename.endswith(".py") or any(part in filename for part in _LIBRARY_PATHS):
        return None
    return f"{filename.rsplit('/', 1)[-1]}:{frame['line']}"


def _event(raw: Any, sources: _Sources) -> Event:
    action = str(raw["action"])
    address = raw.get("addr", raw.get("device_free", 0)) if action == "oom" else raw.get("addr", 0)
    return Event(
        action=action,
        address=_number(address),
        size=_size(raw.get("size", 0)),
        stream=_number(raw.get("stream", 0)),
        source=sources.of(raw.get("frames")) if action in ("alloc", "oom") else None,
    )


def _segment(raw: Any) -> FinalSegment:
    address, blocks = _number(raw["address"]), []
    position = address
    for block in raw["blocks"]:
        size = _size(block["size"])
        is_active = str(block["state"]) != "inactive"
        requested = _size(block.get("requested_size", size)) if is_active else 0
        blocks.append(FinalBlock(address=position, size=size, requested=requested, is_active=is_active))
        position += size
    if position != address + _size(raw["total_size"]):
        raise ValueError("its blocks do not add up to its size")
    return FinalSegment(
        address=address,
        size=position - address,
        stream=_number(raw.get("stream", 0)),
        is_small=str(raw["segment_type"]) == "small",
        is_expandable=bool(raw.get("is_expandable", False)),
        is_private=tuple(raw.get("segment_pool_id", (0, 0))) != (0, 0),
        blocks=tuple(blocks),
    )


def _number(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{str(value)[:40]!r} is no address or stream")
    return value


def _size(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= MAX_SIZE_BYTES:
        raise ValueError(f"{str(value)[:40]!r} is no size")
    return value
