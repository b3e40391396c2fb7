"""CUDA snapshots: what the trace says becomes requests, what came before becomes the start state."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrtool.memory.allocator import blocks
from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.replay.player import Player
from lrtool.memory.replay.replay import Scenario, build_allocator, replay
from lrtool.memory.replay.segments import BlockState, segment_views
from lrtool.memory.snapshot import initial_state
from lrtool.memory.snapshot.contents import Snapshot, checked_snapshot
from lrtool.memory.snapshot.convert import snapshot_trace
from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from tests.memory.traces import MIB, Call, calls, trace_of

ADDRESS_TIES = TorchVersion(2, 9)


def trace_in(data: dict[str, Any]) -> AllocationTrace:
    """The trace of a snapshot's plain data."""
    return snapshot_trace(checked_snapshot(data, name="made"), name="made")


def recorded(requests: list[Call], *, cut: int, scenario: Scenario) -> tuple[dict[str, Any], list[int]]:
    """What a GPU run of the requests would dump if recording began at request `cut`; and the addresses given then."""
    trace = trace_of(*requests)
    player = Player(trace, build_allocator(trace, scenario))
    log = player.allocator.device.log = []
    events: list[dict[str, Any]] = []
    addresses: list[int] = []
    for index, op in enumerate(trace.ops):
        if index == cut:
            events.clear()
            addresses.clear()
        log.clear()
        freed = player.live[trace.slots[index]] if op == Op.FREE else None
        gone = (freed.address, freed.requested) if freed is not None else (0, 0)
        bases = {number: segment.address for number, segment in player.allocator.segments.items()}
        if player.play_range(index, index + 1) is not None:
            break
        bases |= {number: segment.address for number, segment in player.allocator.segments.items()}
        events += [event(action, bases[number] + at, size) for action, number, at, size in log]
        block = player.live[trace.slots[index]] if op == Op.ALLOC else None
        if block is not None:
            events.append(event("alloc", block.address, block.requested))
            addresses.append(block.address)
        if freed is not None:
            events += [event("free_requested", *gone), event("free_completed", *gone)]
    return {"segments": final_segments(player), "device_traces": [events]}, addresses


def event(action: str, address: int, size: int) -> dict[str, Any]:
    return {"action": action, "addr": address, "size": size, "stream": 0}


def final_segments(player: Player) -> list[dict[str, Any]]:
    """Segments as torch shows them: of expandable ones, each mapped range."""
    shown: list[dict[str, Any]] = []
    for view in segment_views(player.allocator):
        blocks: list[dict[str, Any]] = []
        for block in view.blocks:
            if block.state is BlockState.UNMAPPED:
                blocks = []
                continue
            if not blocks:
                shown.append({"address": view.address + block.offset_bytes, "total_size": 0, "blocks": blocks,
                              "stream": 0, "segment_type": "small" if view.is_small else "large",
                              "is_expandable": view.is_expandable})  # fmt: skip
            blocks.append({"size": block.size_bytes, "requested_size": block.requested_bytes,
                           "state": block.state.value})  # fmt: skip
            shown[-1]["total_size"] += block.size_bytes
    return shown


def addresses_given(trace: AllocationTrace, scenario: Scenario) -> list[int]:
    player = Player(trace, build_allocator(trace, scenario))
    given_addresses = []
    for index, op in enumerate(trace.ops):
        assert player.play_range(index, index + 1) is None
        block = player.live[trace.slots[index]] if op == Op.ALLOC else None
        if block is not None:
            given_addresses.append(block.address)
    return given_addresses


def single_stream(requests: list[Call]) -> list[Call]:
    return [call[:3] for call in requests if call[0] in ("alloc", "free", Op.EMPTY_CACHE)]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(calls(max_size=80).map(single_stream), st.floats(0, 1), st.sampled_from(["", "expandable_segments:True"]))
def test_a_recording_begun_anywhere_replays_to_the_same_addresses(requests: list[Call], part: float, conf: str) -> None:
    scenario = Scenario(settings=conf, version=ADDRESS_TIES)
    cut = round(part * len(requests))
    data, addresses = recorded(requests, cut=cut, scenario=scenario)
    if data["device_traces"][0] and not has_unsplit_slack(requests):
        trace = trace_in(data)
        if not conf or cut == 0:  # where a reservation made before the recording lay, no trace says
            assert addresses_given(trace, scenario) == addresses
        else:
            assert replay(trace, scenario).survived


def has_unsplit_slack(requests: list[Call]) -> bool:
    """Whether some block may be larger than its request by more than rounding, which a freed block's trace hides."""
    return any(call[0] == "alloc" and call[2] > MIB for call in requests)


def test_a_block_freed_later_keeps_the_slack_that_no_free_block_could_be() -> None:
    requests: list[Call] = [("alloc", 1, 14 * MIB), ("free", 1), ("alloc", 2, 13 * MIB + 512 * 1024), ("free", 2)]
    data, _ = recorded([*requests, ("alloc", 3, 2 * MIB)], cut=3, scenario=Scenario(version=ADDRESS_TIES))
    start = trace_in(data).start
    assert start is not None
    assert start.num_guessed_blocks == 1
    assert [block.size for segment in start.segments for block in segment.blocks] == [14 * MIB]


def test_a_free_that_waits_for_another_stream_completes_when_the_trace_says() -> None:
    events = [
        event("segment_alloc", 0x100000, 20 * MIB),
        event("alloc", 0x100000, 4 * MIB),
        event("free_requested", 0x100000, 4 * MIB),
        event("alloc", 0x100000 + 4 * MIB, 4 * MIB),
        event("free_completed", 0x100000, 4 * MIB),
        event("alloc", 0x100000, 4 * MIB),
    ]
    trace = trace_in({"segments": [], "device_traces": [events]})
    assert addresses_given(trace, Scenario(version=ADDRESS_TIES)) == [0x100000, 0x100000 + 4 * MIB, 0x100000]


def test_a_trace_may_begin_between_the_request_and_the_completion_of_a_free() -> None:
    block = {"size": 20 * MIB, "requested_size": 0, "state": "inactive"}
    segment = {"address": 0x100000, "total_size": 20 * MIB, "blocks": [block], "segment_type": "large"}
    again = [event("alloc", 0x100000, 4 * MIB), event("free_requested", 0x100000, 4 * MIB)]
    events = [event("free_completed", 0x100000, 4 * MIB), *again, event("free_completed", 0x100000, 4 * MIB)]
    trace = trace_in({"segments": [segment], "device_traces": [events]})
    assert list(trace.ops) == [Op.FREE, Op.ALLOC, Op.FREE]
    assert addresses_given(trace, Scenario(version=ADDRESS_TIES)) == [0x100000]


def test_releases_are_replayed_as_empty_cache_and_said_so() -> None:
    requests: list[Call] = [("alloc", 1, 30 * MIB), ("free", 1), (Op.EMPTY_CACHE,), ("alloc", 2, 512)]
    data, _ = recorded(requests, cut=0, scenario=Scenario(version=ADDRESS_TIES))
    trace = trace_in(data)
    assert Op.EMPTY_CACHE in trace.ops
    assert trace.warnings == (
        "1 release of cached memory is replayed as empty_cache: the trace does not say who asked",
    )


@pytest.mark.parametrize("conf", ["", "expandable_segments:True"])
@pytest.mark.parametrize("minor", [9, 15])
def test_a_start_state_can_be_taken_to_other_settings(conf: str, minor: int) -> None:
    requests: list[Call] = [("alloc", key, size * MIB) for key, size in enumerate((3, 5, 30, 1, 9))]
    data, _ = recorded([*requests, ("free", 2), ("alloc", 9, 28 * MIB)], cut=5, scenario=Scenario(version=ADDRESS_TIES))
    result = replay(trace_in(data), Scenario(settings=conf, version=TorchVersion(2, minor)))
    assert result.peaks.allocated_bytes == 48 * MIB
    assert result.peaks.reserved_bytes == 52 * MIB
    uncached = replay(trace_in(data), Scenario(no_caching=True))
    assert uncached.peaks.reserved_bytes == 48 * MIB


def test_the_recorded_settings_and_private_pools_are_told() -> None:
    data, _ = recorded([("alloc", 1, 512)], cut=0, scenario=Scenario(version=ADDRESS_TIES))
    data["allocator_settings"] = {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}
    data["segments"][0]["segment_pool_id"] = (0, 1)
    trace = trace_in(data)
    assert trace.recorded_settings == "max_split_size_mb:64"
    assert trace.warnings == ("1 segment of private pools (CUDA graphs) is replayed as if shared",)


def unmapped(count: int) -> Snapshot:
    """A recording in which so many ranges of an expandable segment, none beside another, are released at last."""
    ranges = [event("segment_unmap", 2**40 + 40 * MIB * number, 20 * MIB) for number in range(count)]
    return checked_snapshot({"segments": [], "device_traces": [ranges]}, name="made")


def test_the_work_of_undoing_releases_grows_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    near = initial_state._Held._near

    def counted(held: Any, begin: int, end: int) -> Any:
        for segment in near(held, begin, end):
            looked_at[-1] += 1
            yield segment

    monkeypatch.setattr(initial_state._Held, "_near", counted)
    for count in (100, 400):
        looked_at.append(0)
        assert len(initial_state._undo_segments(unmapped(count))) == count

    assert looked_at[1] <= 4.1 * looked_at[0]


def test_the_work_of_releasing_ranges_grows_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the logarithm of a search."""
    calls: list[int] = []
    address = blocks.address_of

    def counted(block: blocks.Block) -> int:
        calls[-1] += 1
        return address(block)

    monkeypatch.setattr(blocks, "address_of", counted)
    for count in (100, 400):
        trace = snapshot_trace(unmapped(count), name="made")
        calls.append(0)
        assert replay(trace).peaks.reserved_bytes == count * 20 * MIB

    assert calls[1] <= 6 * calls[0]
