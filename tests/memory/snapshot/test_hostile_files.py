"""Files that are broken, or meant to harm: an error in two lines, never a traceback, and never code run."""

import gzip
import os
import pickle
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrtool.errors import LrtoolError
from lrtool.memory.replay.replay import replay
from lrtool.memory.snapshot.reader import read_trace
from lrtool.memory.trace.allocation_trace import TraceError
from tests.memory.recordings import SNAPSHOTS


class RunsOnLoad:
    """Unpickling it the ordinary way makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def snapshot(*events: dict[str, Any], segments: Any = ()) -> dict[str, Any]:
    return {"segments": list(segments), "device_traces": [list(events)]}


ALLOC = {"action": "alloc", "addr": 1, "size": 512, "stream": 0}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: snapshot({**ALLOC, "frames": evil})])
def test_a_pickle_cannot_run_code(tmp_path: Path, protocol: int, wrap: Callable[[Any], Any]) -> None:
    target, file = tmp_path / "made-by-the-pickle", tmp_path / "evil.pickle"
    data = pickle.dumps(wrap(RunsOnLoad(target)), protocol=protocol)
    for content in (data, gzip.compress(data)):
        file.write_bytes(content)
        with pytest.raises(TraceError, match=r"not plain data|neither"):
            read_trace(file)
    assert not target.exists()
    pickle.loads(data)
    assert target.exists(), "the pickle was harmless, so that nothing was shown"


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fK\x01.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"]p99999999999\n.",
    ],
)
def test_a_pickle_cannot_claim_more_memory_than_it_has_bytes(tmp_path: Path, bomb: bytes) -> None:
    file = tmp_path / "bomb.pickle"
    file.write_bytes(bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TraceError):
        read_trace(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize(
    "data",
    [
        5,
        {},
        {"segments": None, "device_traces": None},
        {"segments": 3, "device_traces": [[ALLOC]]},
        snapshot(),
        snapshot({**ALLOC, "size": -1}),
        snapshot({**ALLOC, "size": 2**70}),
        snapshot({**ALLOC, "addr": "here"}),
        snapshot({**ALLOC, "frames": [7]}),
        snapshot(ALLOC, ALLOC),
        snapshot({**ALLOC, "action": "free_requested"}),
        snapshot(ALLOC, segments=[7]),
        snapshot(ALLOC, segments=[{"address": 0}]),
        {"segments": [], "device_traces": "abc"},
    ],
)
def test_a_snapshot_that_is_none_is_refused_by_name(tmp_path: Path, data: Any) -> None:
    file = tmp_path / "odd.pickle"
    file.write_bytes(pickle.dumps(data))
    with pytest.raises(TraceError, match=r"odd\.pickle: "):
        read_trace(file)


@pytest.mark.parametrize(
    "content", [b"hello", b"\x00\x01", b"\x1f\x8bnot gzip", b"[1, 2]", gzip.compress(b"", mtime=0)]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "odd"
    file.write_bytes(content)
    with pytest.raises(TraceError):
        read_trace(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(TraceError, match=str(path)):
            read_trace(path)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000), flip=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_snapshot_never_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, value: int
) -> None:
    data = bytearray(gzip.decompress(SNAPSHOTS[0].read_bytes()))
    data[flip % len(data)] = value
    file = tmp_path_factory.mktemp("damaged") / "snapshot.pickle"
    file.write_bytes(data[: len(data) - cut % 3 * (cut % len(data))])
    with suppress(LrtoolError):
        peaks = replay(read_trace(file)).peaks
        assert peaks.reserved_bytes >= peaks.active_bytes >= peaks.allocated_bytes >= 0
