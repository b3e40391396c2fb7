"""Snapshots that somebody else wrote, from the command line to the page: a documented exit code, two lines, no traceback.

`SNAPSHOT_MUTATIONS=5000 pytest tests/cli/test_snapshots_of_others.py -k mutated` tries many more of them.
"""

import gzip
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from lrtool.errors import EXIT_USAGE
from lrtool.memory.snapshot import reader
from tests.conftest import Lrtool, Outcome
from tests.memory.odd_snapshots import (
    BASE,
    FRAMES,
    MIB,
    block,
    deep,
    event,
    laughs,
    odd_bytes,
    odd_objects,
    segment,
    small_snapshot,
)

NUM_MUTATIONS = int(os.environ.get("SNAPSHOT_MUTATIONS", "12"))
COMMANDS = (("replay",), ("diagnose", "--snapshot"))
Change = Callable[[Any], None]


@pytest.fixture(params=COMMANDS, ids=lambda words: words[0])
def read(request: pytest.FixtureRequest, lrtool: Lrtool) -> Callable[..., Outcome]:
    return lambda *arguments: lrtool(*request.param, *arguments)


def write(data: Any, name: str = "made.pickle") -> Path:
    path = Path(name)
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, protocol=4))
    return path


def is_refused(outcome: Outcome, *words: str) -> bool:
    lines = outcome.err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"], outcome.err
    assert outcome.code == EXIT_USAGE
    assert all(word in lines[0] for word in words), lines[0]
    return not Path("runs").exists()


def check_as_documented(lrtool: Lrtool, path: Path) -> None:
    """Read by both commands, and, where they read it, shown again as a page."""
    for words in COMMANDS:
        outcome = lrtool(*words, path)
        assert "Traceback" not in outcome.err
        assert outcome.code in (0, EXIT_USAGE), outcome.err
        if outcome.code:
            assert [line.partition(":")[0] for line in outcome.err.splitlines()] == ["error", "hint"], outcome.err
            continue
        again = lrtool("report", "last", "--html")
        assert again.code == 0, again.err
        page = next(Path("runs").glob("*/report.html"))
        assert b"<script>" not in page.read_bytes().replace(b"<script>\n", b"")


def test_the_snapshot_that_the_others_are_made_of_is_read(read: Callable[..., Outcome], lrtool: Lrtool) -> None:
    assert read(write(small_snapshot())).code == 0
    assert lrtool("report", "last", "--html").code == 0


def _set(*path: Any, value: Any) -> Change:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        if value is ...:
            del data[path[-1]]
        else:
            data[path[-1]] = value

    return change


FIRST_ALLOC, FIRST_SEGMENT, FIRST_BLOCK = ("device_traces", 0, 2), ("segments", 1), ("segments", 1, "blocks", 0)
WRONG: dict[str, tuple[Change, str]] = {
    **{
        f"{kind} {place}": (_set(*path, value=value), words)
        for kind, value in {
            "tuples in tuples": laughs(), "lists in lists": laughs(of=list), "depth": deep(), "bytes": b"a", "truth": True
        }.items()
        for place, path, words in [
            ("action", (*FIRST_ALLOC, "action"), "event 2"),
            ("address", (*FIRST_ALLOC, "addr"), "event 2"),
            ("size", (*FIRST_ALLOC, "size"), "event 2"),
            ("stream", (*FIRST_ALLOC, "stream"), "event 2"),
            ("frame", (*FIRST_ALLOC, "frames"), "event 2"),
            ("file", (*FIRST_ALLOC, "frames", 0, "filename"), "event 2"),
            ("line", (*FIRST_ALLOC, "frames", 1, "line"), "event 2"),
            ("device", (*FIRST_SEGMENT, "device"), "segment 1"),
            ("segment address", (*FIRST_SEGMENT, "address"), "segment 1"),
            ("segment size", (*FIRST_SEGMENT, "total_size"), "segment 1"),
            ("type", (*FIRST_SEGMENT, "segment_type"), "segment 1"),
            ("pool", (*FIRST_SEGMENT, "segment_pool_id"), "segment 1"),
            ("blocks", (*FIRST_SEGMENT, "blocks"), "segment 1"),
            ("block", FIRST_BLOCK, "segment 1"),
            ("state", (*FIRST_BLOCK, "state"), "segment 1"),
            ("requested", (*FIRST_BLOCK, "requested_size"), "segment 1"),
            ("settings", ("allocator_settings",), "allocator_settings"),
            ("conf", ("allocator_settings", "PYTORCH_CUDA_ALLOC_CONF"), "allocator_settings"),
        ]
    },
    **{
        f"no {path[-1]}": (_set(*path, value=...), words)
        for path, words in [
            ((*FIRST_ALLOC, "action"), "event 2"), ((*FIRST_ALLOC, "addr"), "event 2"), ((*FIRST_ALLOC, "size"), "event 2"),
            ((*FIRST_SEGMENT, "address"), "segment 1"), ((*FIRST_SEGMENT, "blocks"), "segment 1"),
            ((*FIRST_SEGMENT, "segment_type"), "segment 1"), ((*FIRST_BLOCK, "size"), "segment 1"),
            ((*FIRST_BLOCK, "state"), "segment 1"), (("segments",), "no CUDA memory snapshot"),
            ((*FIRST_ALLOC, "frames", 0, "filename"), "event 2"),
        ]
    },
    **{
        f"{path[-1]} {value}": (_set(*path, value=value), words)
        for path, words in [
            ((*FIRST_ALLOC, "addr"), "event 2"), ((*FIRST_ALLOC, "size"), "event 2"), ((*FIRST_ALLOC, "stream"), "event 2"),
            ((*FIRST_SEGMENT, "address"), "segment 1"), ((*FIRST_BLOCK, "size"), "segment 1"),
            ((*FIRST_ALLOC, "frames", 1, "line"), "event 2"),
        ]
        for value in (-1, 2**63, 2**64, 10**400)
    },
    "no blocks": (_set(*FIRST_SEGMENT, "blocks", value=[]), "segment 1"),
    "a block of nothing": (_set(*FIRST_BLOCK, "size", value=0), "segment 1"),
    "a block elsewhere": (_set(*FIRST_BLOCK, "address", value=BASE), "segment 1"),
    "more requested than there is": (_set(*FIRST_BLOCK, "requested_size", value=2**40), "segment 1"),
    "one segment in another": (_set("segments", 2, value=segment(BASE, block(MIB, 0, "inactive", BASE))), "segment 2"),
    "the last address": (
        _set("segments", 2, value=segment(2**63 - MIB, block(MIB, 0, "inactive", 2**63 - MIB))), "segment 2"
    ),
    "an event that released what is still there": (
        _set("device_traces", 0, 9, value=event("segment_free", BASE + MIB, MIB)), "event 9"
    ),
    "a mapping of what cannot grow": (_set("device_traces", 0, 3, value=event("segment_map", BASE, MIB)), "event 3"),
    "a segment of no bytes": (_set("device_traces", 0, 1, value=event("segment_alloc", BASE, 0)), "event 1"),
    "settings of nothing": (_set("allocator_settings", "PYTORCH_CUDA_ALLOC_CONF", value="garbage:1"), "garbage"),
    "half a character in the settings": (
        _set("allocator_settings", "PYTORCH_CUDA_ALLOC_CONF", value="\ud800"), "allocator_settings"
    ),
    "too many settings": (_set("allocator_settings", "PYTORCH_CUDA_ALLOC_CONF", value="," * 5000), "allocator_settings"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_what_torch_does_not_write_is_refused_by_its_place(lrtool: Lrtool, change: Change, words: str) -> None:
    data = small_snapshot()
    data["device_traces"][0][2]["frames"] = [dict(each) for each in FRAMES]
    change(data)
    file = write(pickled(data))

    assert is_refused(lrtool("replay", file), "made.pickle: ", words)


def pickled(data: Any) -> bytes:
    """Of any depth."""
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(20_000)
        return pickle.dumps(data, protocol=4)
    finally:
        sys.setrecursionlimit(limit)


KEYS = {
    "number": b"K\x01", "fraction": b"G" + bytes(8), "nothing": b"N", "bytes": b"C\x01a", "tuple": b"K\x00K\x00\x86",
    "tuples in tuples": b"K\x01\x85" + b"".join(b"\x94h" + bytes([number]) + b"\x86" for number in range(60)),
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("set_item", [b"}%bK\x01s.", b"}(%bK\x01u.", b"(%bK\x01d."])
def test_keys_are_texts(lrtool: Lrtool, key: bytes, set_item: bytes) -> None:
    """Tuples that share their parts take for ever to hash, and numbers can be chosen that hash alike."""
    assert is_refused(lrtool("replay", write(b"\x80\x04" + set_item % key)), "no text")


@pytest.mark.parametrize("which", ["event", "segment", "blocks"])
def test_one_entry_does_not_stand_for_many(lrtool: Lrtool, which: str) -> None:
    data = small_snapshot()
    if which == "event":
        data["device_traces"][0][7] = data["device_traces"][0][5]
    elif which == "segment":
        data["segments"].append(data["segments"][0])
    else:
        shared = [{"size": 20 * MIB, "state": "inactive"}]
        for each in data["segments"][:2]:
            each["blocks"] = shared

    assert is_refused(lrtool("replay", write(data)), which)


def test_what_is_odd_and_harmless_is_read_and_said(read: Callable[..., Outcome]) -> None:
    data = small_snapshot()
    data["device_traces"][0].insert(0, {"action": "\x1b[31mexplode\ud800", "addr": laughs()})
    data["device_traces"][0][3]["frames"] = [{"filename": "/home/\ud800\x1b/\udcff[red]x[/].py", "name": 1, "line": 7}]
    outcome = read(write(data, "\udcffx.pickle"))

    assert outcome.code == 0, outcome.err
    assert "events of kinds lrtool does not know" in " ".join((outcome.out + outcome.err).split())
    assert "\x1b" not in outcome.out


@given(content=odd_objects() | odd_bytes())
@settings(max_examples=NUM_MUTATIONS, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_snapshots_end_as_documented(lrtool: Lrtool, content: bytes) -> None:
    check_as_documented(lrtool, write(content))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
@pytest.mark.parametrize(
    "content", [pickle.dumps(small_snapshot()), b'{"op": "alloc", "id": "a", "size": 512}\n'], ids=["pickle", "lines"]
)
def test_a_pipe_is_read_once_to_its_end(
    read: Callable[..., Outcome], content: bytes, pack: Callable[[bytes], bytes]
) -> None:
    outward, inward = os.pipe()
    writer = threading.Thread(target=_feed, args=(inward, pack(content)))
    writer.start()
    outcome = read(f"/dev/fd/{outward}")
    os.close(outward)
    writer.join()

    assert outcome.code == 0, outcome.err


def _feed(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        try:
            file.write(content)
        except BrokenPipeError:
            return


def test_a_snapshot_is_read_from_standard_input() -> None:
    command = [sys.executable, "-m", "lrtool", "replay", "/dev/stdin", "--json"]
    run = subprocess.run(command, input=gzip.compress(pickle.dumps(small_snapshot())), capture_output=True, check=False)

    assert run.returncode == 0, run.stderr.decode()


@pytest.mark.parametrize("line", [b'{"op": "step"}\n', b"\x80\x04]]]]", b"\x1f\x8b\x08", b"y\n"])
def test_a_pipe_without_an_end_is_refused(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    monkeypatch.setattr(reader, "MAX_PIPE_BYTES", 3 * MIB)
    outward, inward = os.pipe()
    writer = threading.Thread(target=_feed, args=(inward, line * MIB * 8))
    writer.start()
    outcome = lrtool("replay", f"/dev/fd/{outward}")
    os.close(outward)
    writer.join()

    assert is_refused(outcome, "over 3 MiB through a pipe")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/urandom", ".", "none", "a\0b", "/dev/fd/987"])
def test_what_is_neither_a_file_nor_a_pipe_is_refused(read: Callable[..., Outcome], path: str) -> None:
    assert is_refused(read(path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x04" + b"]" * 2 * MIB, "40 times its size"),
        (b"\x80\x04" + b"]" * 100_000, "gunzip"),
        (b"\x80\x04]" + b"\x94" * 100_000, "gunzip"),
        (b"\n" * 100_000, "more lines"),
        (b'{"op": "step"}\n' * 10_000, "more lines"),
        (b'{"op": "step"' + b" " * 2 * MIB + b"}\n", "40 times its size"),
    ],
)
def test_a_compressed_file_is_bounded_in_what_it_may_become(
    lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    monkeypatch.setattr(reader, "MIN_UNPACKED_BYTES", MIB)
    monkeypatch.setattr(reader, "FREE_OBJECTS", 1_000)

    assert is_refused(lrtool("replay", write(gzip.compress(content, mtime=0))), words)
