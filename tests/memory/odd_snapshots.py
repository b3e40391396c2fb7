"""Snapshots that torch did not write: a small valid one, and what chance makes of it, in its objects or in its bytes."""

import pickle
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

MIB = 2**20
Node = tuple[Any, Any]
"""A container, and the key or the index of one of its values."""

BASE = 0x7F0000000000
FRAMES = [
    {"filename": "/usr/lib/python3.11/site-packages/torch/nn/linear.py", "name": "forward", "line": 125},
    {"filename": "/home/me/train.py", "name": "main", "line": 41},
]


def event(action: str, address: int, size: int, **more: Any) -> dict[str, Any]:
    return {"action": action, "addr": address, "size": size, "stream": 0, "frames": [], **more}


def block(size: int, requested: int, state: str, address: int) -> dict[str, Any]:
    return {"size": size, "requested_size": requested, "state": state, "address": address, "frames": []}


def segment(address: int, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    total = sum(each["size"] for each in blocks)
    known = {"device": 0, "address": address, "total_size": total, "stream": 0, "segment_type": "large"}
    return {**known, "is_expandable": False, "segment_pool_id": (0, 0), "blocks": list(blocks), **more}


def small_snapshot() -> dict[str, Any]:
    """Every kind of event, a segment that was there before, one that was made, and one that can grow."""
    old, new, growing = BASE, BASE + 64 * MIB, BASE + 2**40
    events = [
        event("free_completed", old, 4 * MIB),
        event("segment_alloc", new, 20 * MIB),
        event("alloc", new, 3 * MIB, frames=FRAMES),
        event("segment_map", growing + 20 * MIB, 20 * MIB),
        event("alloc", growing + 20 * MIB, 18 * MIB, frames=FRAMES),
        event("free_requested", new, 3 * MIB),
        event("snapshot", 0, 0),
        event("free_completed", new, 3 * MIB),
        event("alloc", new, 5 * MIB, frames=list(FRAMES)),
        event("segment_free", BASE + 128 * MIB, 2 * MIB),
        event("segment_unmap", growing + 40 * MIB, 20 * MIB),
        {"action": "oom", "device_free": 7 * MIB, "size": 64 * MIB, "stream": 0, "frames": FRAMES},
    ]
    segments = [
        segment(old, block(20 * MIB, 0, "inactive", old)),
        segment(new, block(5 * MIB, 5 * MIB, "active_allocated", new), block(15 * MIB, 0, "inactive", new + 5 * MIB)),
        segment(
            growing,
            block(20 * MIB, 19 * MIB, "active_allocated", growing),
            block(18 * MIB, 18 * MIB, "active_allocated", growing + 20 * MIB),
            block(2 * MIB, 0, "inactive", growing + 38 * MIB),
            is_expandable=True,
        ),
    ]
    settings = {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64", "max_split_size": 64 * MIB}
    return {"segments": segments, "device_traces": [events, []], "allocator_settings": settings}


def laughs(*, of: type = tuple, depth: int = 60) -> Any:
    """A few objects that are 2**60 when they are written out."""
    made: Any = of(["ha"])
    for _ in range(depth):
        made = of([made, made])
    return made


def deep(depth: int = 3_000) -> Any:
    made: Any = []
    for _ in range(depth):
        made = [made]
    return made


ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 511, 2**31, 2**47, 2**48, 2**48 + 1, 2**62, 2**63 - 1, 2**63, 2**64, 2**200, -(2**63),
    1.5, float("nan"), float("inf"), "", "a", "\ud800", "\x1b[31m", "[red]x[/]", "<script>", "é\u202e", "x" * 5000, b"",
    b"\xff", (), (0, 0), (0, 1), [], [[]], {}, {"a": 1}, "alloc", "free_requested", "free_completed", "segment_free",
    "segment_map", "segment_unmap", "oom", "explode", "small", "active_pending_free", "inactive", "a.py", "\ud800.py",
    "expandable_segments:True", "garbage", "max_split_size_mb:1", "," * 4000, laughs(), laughs(of=list), BASE, MIB,
)  # fmt: skip


def nodes(whole: Any) -> Iterator[Node]:
    """Every place in the lists and dicts below a value; of one that is in several places, once."""
    seen: set[int] = set()
    todo = [whole]
    while todo:
        value = todo.pop(0)
        if id(value) in seen or not isinstance(value, dict | list):
            continue
        seen.add(id(value))
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            todo.append(value[key])


def _mutate(whole: Any, odd: tuple[Any, ...], draw: st.DrawFn) -> None:
    """One change in place."""
    places = list(nodes(whole))
    if not places:
        return
    any_place = st.integers(0, len(places) - 1)
    container, key = places[draw(any_place)]
    kind = draw(st.sampled_from(["odd", "odd", "near", "remove", "share", "swap", "again", "append"]))
    other, at = places[draw(any_place)]
    if kind == "odd":
        container[key] = odd[draw(st.integers(0, len(odd) - 1))]
    elif kind == "near" and isinstance(container[key], int):
        number = container[key]
        container[key] = draw(st.sampled_from([number + 1, number - 1, number + 512, 2 * number, number // 2, -number]))
    elif kind == "share":
        container[key] = other[at]
    elif kind == "swap":
        container[key], other[at] = other[at], container[key]
    elif kind == "again" and isinstance(container, list):
        container.insert(key, container[key])
    elif kind == "append" and isinstance(container, list):
        container.append(pickle.loads(pickle.dumps(other[at], protocol=4)))
    elif isinstance(container, dict | list):
        del container[key]


@st.composite
def odd_objects(draw: st.DrawFn) -> bytes:
    """A pickled snapshot with some values changed, left out, or in several places."""
    whole, odd = pickle.loads(pickle.dumps((small_snapshot(), ODD)))  # nothing that a change could outlive
    for _ in range(draw(st.integers(1, 4))):
        _mutate(whole, odd, draw)
    return pickle.dumps(whole, protocol=draw(st.sampled_from([2, 4, 5])))


@st.composite
def odd_bytes(draw: st.DrawFn) -> bytes:
    """A pickled snapshot with bytes changed, put in, or left out."""
    data = bytearray(pickle.dumps(small_snapshot(), protocol=draw(st.sampled_from([0, 2, 4]))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        piece = draw(
            st.binary(max_size=3) | st.sampled_from([b"h\x00", b"(", b"}", b"]", b"u", b"e", b"\x86", b"N", b"."])
        )
        data[at : at + draw(st.integers(0, 3))] = piece
    return bytes(data)
