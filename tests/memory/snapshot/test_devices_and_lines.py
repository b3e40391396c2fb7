"""Which device of a snapshot is told, what one without history holds, and whose line a stack names."""

from typing import Any

import pytest

from lrtool.memory.snapshot.contents import checked_snapshot
from lrtool.memory.snapshot.convert import snapshot_trace
from lrtool.memory.snapshot.lines import own_line
from lrtool.memory.trace.allocation_trace import AllocationTrace, TraceError
from tests.memory.odd_snapshots import BASE, FRAMES, MIB, block, event, segment

LIVE, FREE = "active_allocated", "inactive"


def oom(size: int, free: int, **more: Any) -> dict[str, Any]:
    return {"action": "oom", "device_free": free, "size": size, "stream": 0, "frames": FRAMES, **more}


def many(count: int) -> list[dict[str, Any]]:
    return [event("segment_alloc", BASE, 20 * MIB), *(event("alloc", BASE + n * MIB, MIB) for n in range(count))]


def trace_in(data: Any) -> AllocationTrace:
    return snapshot_trace(checked_snapshot(data, name="made"), name="made")


@pytest.mark.parametrize(
    ("traces", "device"),
    [
        ([many(9), [*many(1), oom(64 * MIB, 0)]], 1),
        ([[*many(1), oom(64 * MIB, 0)], many(9)], 0),
        ([[oom(64 * MIB, 0, time_us=9)], [oom(64 * MIB, 0, time_us=7)]], 0),
        ([[oom(64 * MIB, 0, time_us=7)], [oom(64 * MIB, 0, time_us=9)]], 1),
        ([[], many(3)], 1),
        ([many(3), many(5), []], 1),
    ],
)
def test_the_device_that_ran_out_of_memory_comes_first_then_that_with_most_events(traces: Any, device: int) -> None:
    found = checked_snapshot({"segments": [], "device_traces": traces}, name="made")

    assert found.device == device
    assert {each.device for each in found.others} == {n for n, events in enumerate(traces) if events} - {device}


def test_without_events_the_device_that_holds_most_is_told() -> None:
    small = segment(BASE, block(2 * MIB, 2 * MIB, LIVE, BASE))
    large = segment(BASE + 2**40, block(20 * MIB, 20 * MIB, LIVE, BASE + 2**40), device=3)

    assert checked_snapshot({"segments": [small, large], "device_traces": [[], []]}, name="made").device == 3


def test_it_says_which_device_is_told_and_what_else_there_is() -> None:
    warnings = trace_in({"segments": [], "device_traces": [many(9), [oom(64 * MIB, 0)]]}).warnings

    assert "cuda:1 is told, as it ran out of memory; the file holds cuda:0 too" in warnings


SEGMENT = segment(BASE, block(12 * MIB, 12 * MIB, LIVE, BASE), block(8 * MIB, 0, FREE, BASE + 12 * MIB))


@pytest.mark.parametrize(
    "data",
    [
        {"segments": [SEGMENT], "device_traces": [[]]},
        {"segments": [SEGMENT], "device_traces": []},
        {"segments": [SEGMENT]},
        {"segments": [SEGMENT], "device_traces": [[{"action": "snapshot", "addr": 0, "size": 0, "stream": 0}]]},
        {"segments": [SEGMENT], "device_traces": [[event("free_completed", BASE + 12 * MIB, 512)]]},
        [SEGMENT],
    ],
    ids=["no events", "no traces", "no key", "a mark", "the end of a free", "memory_snapshot()"],
)
def test_segments_alone_are_read(data: Any) -> None:
    trace = trace_in(data)

    assert not trace.has_history
    assert trace.start is not None
    assert trace.start.reserved_bytes == 20 * MIB


@pytest.mark.parametrize("data", [[], [1], [[]], [{}], {"segments": []}, {"segments": [], "device_traces": [[]]}])
def test_what_holds_nothing_is_refused(data: Any) -> None:
    with pytest.raises(TraceError):
        checked_snapshot(data, name="made")


@pytest.mark.parametrize("where", ["frames", "history"])
def test_a_block_names_its_line(where: str) -> None:
    live = block(20 * MIB, 20 * MIB, LIVE, BASE)
    live |= {"frames": FRAMES} if where == "frames" else {"history": [{"addr": BASE, "frames": FRAMES}]}
    trace = trace_in({"segments": [segment(BASE, live)], "device_traces": [[]]})

    assert trace.start is not None
    assert trace.start.segments[0].blocks[0].source == "train.py:41"


def test_an_out_of_memory_is_told_with_the_state_it_met() -> None:
    """60 MiB live of 100 then; later 50 MiB of that went, and more came."""
    events = [
        event("segment_alloc", BASE, 100 * MIB),
        event("alloc", BASE, 60 * MIB),
        oom(500 * MIB, 30 * MIB),
        oom(64 * MIB, 30 * MIB),
        event("free_requested", BASE, 60 * MIB),
        event("free_completed", BASE, 60 * MIB),
        event("segment_alloc", BASE + 2**40, 20 * MIB),
    ]
    segments = [
        segment(BASE, block(100 * MIB, 0, FREE, BASE)),
        segment(BASE + 2**40, block(20 * MIB, 0, FREE, BASE + 2**40)),
    ]
    failed = trace_in({"segments": segments, "device_traces": [events]}).recorded_oom

    assert failed is not None
    assert (failed.size_bytes, failed.reserved_bytes, failed.capacity_bytes) == (64 * MIB, 100 * MIB, 130 * MIB)
    assert (failed.largest_free_bytes, failed.free_bytes, failed.source) == (40 * MIB, 70 * MIB, "train.py:41")
    assert len(failed.earlier) == 1


@pytest.mark.parametrize(
    "path",
    [
        r"C:\Users\me\venv\Lib\site-packages\torch\nn\modules\linear.py",
        r"D:\Site-Packages\transformers\trainer.py",
        r"C:\Users\me\AppData\Local\Programs\Python\Python310\lib\runpy.py",
        r"C:\ProgramData\Anaconda3\lib\threading.py",
        r"C:\tools\miniconda3\envs\llm\lib\runpy.py",
        r"C:\Users\me\.pyenv\pyenv-win\versions\3.10.5\Lib\runpy.py",
        "/usr/lib/python3/dist-packages/numpy/core.py",
        "/home/me/.conda/envs/flexgen/lib/python3.9/runpy.py",
        "/tmp/torchinductor_me/hw/chwq7ux2.py",
        "<frozen importlib._bootstrap>",
        "??",
        "/src/aten/Functions.cpp",
    ],
)
def test_a_librarys_line_is_not_the_users(path: str) -> None:
    assert own_line(path, 7) is None


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (r"C:\Users\me\project\train.py", "train.py:7"),
        (r"D:\python_projects\lib\model.py", "model.py:7"),
        (r"\\server\share\train.py", "train.py:7"),
        ("/home/me/lib/model.py", "model.py:7"),
        ("/tmp/ipykernel_12/345.py", "345.py:7"),
        ("<ipython-input-5-0f1e2d>", "ipython-input-5-0f1e2d:7"),
    ],
)
def test_a_programs_own_line_is_found(path: str, line: str) -> None:
    assert own_line(path, 7) == line
