"""What holds for every trace under every setting."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrtool.memory.allocator.blocks import Block
from lrtool.memory.allocator.caching_allocator import Allocator
from lrtool.memory.metrics import releasable_bytes
from lrtool.memory.replay.player import Player
from lrtool.memory.replay.replay import Scenario, build_allocator, replay
from lrtool.memory.replay.segments import BlockState, segment_views
from lrtool.memory.replay.timeline import per_op_rows, stored_order
from lrtool.memory.trace.allocation_trace import Op
from tests.memory.traces import MIB, Call, calls, repeated, scenarios, steps, trace_of

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def played(requests: list[Call], scenario: Scenario) -> Player:
    """A player after each request was made, whatever failed."""
    trace = trace_of(*requests)
    player = Player(trace, build_allocator(trace, scenario))
    for index in stored_order(trace):
        player.play_range(index, index + 1)
        check_invariants(player.allocator)
    return player


def check_invariants(allocator: Allocator) -> None:
    views = segment_views(allocator)
    by_state = {
        state: sum(block.size_bytes for view in views for block in view.blocks if block.state is state)
        for state in BlockState
    }
    now = allocator.now()
    assert now.allocated_bytes == by_state[BlockState.ALLOCATED]
    assert now.active_bytes == now.allocated_bytes + by_state[BlockState.PENDING_FREE]
    assert now.reserved_bytes == now.active_bytes + by_state[BlockState.INACTIVE] == allocator.device.used_bytes
    releasable = releasable_bytes(now.reserved_bytes, now.active_bytes, now.inactive_split_bytes)
    assert now.active_bytes + now.inactive_split_bytes + releasable == now.reserved_bytes
    assert now.largest_free_bytes == max(
        (b.size_bytes for view in views for b in view.blocks if b.state is BlockState.INACTIVE), default=0
    )
    for view in views:
        assert sum(block.size_bytes for block in view.blocks) == view.size_bytes
        ends = [0, *(block.offset_bytes + block.size_bytes for block in view.blocks)]
        assert all(block.offset_bytes == end for block, end in zip(view.blocks, ends, strict=False)), "blocks overlap"
        assert all(block.size_bytes >= block.requested_bytes for block in view.blocks)


@quick
@given(calls(), scenarios())
def test_every_byte_reserved_is_active_split_or_releasable_and_no_blocks_overlap(
    requests: list[Call], scenario: Scenario
) -> None:
    player = played(requests, scenario)
    check_invariants(player.allocator)


@st.composite
def page_calls(draw: st.DrawFn) -> list[Call]:
    """Whole pages allocated, freed and given back, so that holes come and grow."""
    made: list[Call] = []
    held: list[int] = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from("aaaaafffe"), min_size=10, max_size=60))):
        if kind == "a":
            made.append(("alloc", number, draw(st.sampled_from([20, 40, 60])) * MIB, 0))
            held.append(number)
        elif kind == "f" and held:
            made.append(("free", held.pop(draw(st.integers(0, len(held) - 1)))))
        elif kind == "e":
            made.append((Op.EMPTY_CACHE,))
    return made


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(page_calls(), st.sampled_from(["expandable_segments:True", "expandable_segments:True,max_split_size_mb:21"]))
def test_no_range_is_passed_over_that_has_room(requests: list[Call], conf: str) -> None:
    trace = trace_of(*requests)
    allocator = build_allocator(trace, Scenario(settings=conf, capacity_bytes=500 * MIB))
    player = Player(trace, allocator)
    for index in stored_order(trace):
        player.play_range(index, index + 1)
        for pool in (allocator.small, allocator.large):
            for stream, barren in pool.barren.items():
                for size, until in barren.items():
                    passed_over = [block for block in pool.unmapped[stream] if block.address < until]
                    assert not any(room_from(block) >= size for block in passed_over)


def room_from(block: Block) -> int:
    """What is free or without pages in a row, from the free block before it on."""
    following: Block | None = block.prev if block.prev is not None and block.prev.key else block
    room = 0
    while following is not None and (following.key or not following.is_mapped):
        room, following = room + following.size, following.next
    return room


@quick
@given(calls(), scenarios())
def test_freeing_everything_and_emptying_the_cache_ends_at_zero(requests: list[Call], scenario: Scenario) -> None:
    player = played(requests, scenario)
    for block in player.live:
        if block is not None:
            player.allocator.free(block)
    player.allocator.empty_cache()
    stats = player.allocator.memory_stats()
    currents = {key: value for key, value in stats.items() if key.endswith(".current") and value}
    assert currents == {}
    assert player.allocator.device.used_bytes == 0


@quick
@given(calls(), scenarios())
def test_replaying_twice_gives_the_same(requests: list[Call], scenario: Scenario) -> None:
    trace = trace_of(*requests)
    assert list(per_op_rows(trace, scenario)) == list(per_op_rows(trace, scenario))


@quick
@given(calls(), scenarios())
def test_statistics_are_torchs_own_arithmetic(requests: list[Call], scenario: Scenario) -> None:
    stats = played(requests, scenario).allocator.memory_stats()
    reset = (Op.RESET_ACCUMULATED,) in requests
    for key in [key.removesuffix(".current") for key in stats if key.endswith(".current")]:
        assert stats[f"{key}.peak"] >= stats[f"{key}.current"] >= 0
        assert reset or stats[f"{key}.allocated"] - stats[f"{key}.freed"] == stats[f"{key}.current"]
    for name in ("allocated_bytes", "reserved_bytes", "active", "segment", "inactive_split_bytes"):
        parts = (stats[f"{name}.small_pool.current"], stats[f"{name}.large_pool.current"])
        assert stats[f"{name}.all.current"] == sum(parts)


@quick
@given(st.data(), scenarios(), st.sampled_from([3, 4, 9, 30]), st.booleans())
def test_what_is_proven_is_what_playing_everything_gives(
    data: st.DataObject, scenario: Scenario, times: int, marked: bool
) -> None:
    held = [("alloc", key, size) for key, size in enumerate(data.draw(st.lists(st.integers(1, 2**25), max_size=8)))]
    body = data.draw(steps(live=frozenset(range(len(held)))))
    trace = repeated(times, held, body, marked=marked)
    players = [Player(trace, build_allocator(trace, scenario), prove=prove) for prove in (True, False)]
    failures = [player.play() for player in players]
    proven, full = players
    assert proven.num_played <= full.num_played
    assert [failure and failure.request for failure in failures] == [failures[1] and failures[1].request] * 2
    assert proven.allocator.memory_stats() == full.allocator.memory_stats()
    assert proven.steps == full.steps
    assert proven.position == full.position
    assert [(view.index, view.blocks) for view in segment_views(proven.allocator)] == [
        (view.index, view.blocks) for view in segment_views(full.allocator)
    ]


@quick
@given(calls(), scenarios())
def test_a_failure_is_named_by_its_true_cause(requests: list[Call], scenario: Scenario) -> None:
    failure = replay(trace_of(*requests), scenario).oom
    if failure is not None:
        assert failure.size_bytes is not None
        assert failure.free_bytes is not None
        assert failure.largest_free_bytes is not None
        fits_together = failure.size_bytes <= failure.free_bytes
        fits_in_one = failure.size_bytes <= failure.largest_free_bytes
        assert (failure.cause == "fragmentation") == (fits_together and not fits_in_one)
        assert failure.is_barred == fits_in_one
