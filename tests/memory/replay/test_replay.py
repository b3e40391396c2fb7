"""Scenarios: capacity, settings and releases; where a run runs out of memory, of what, and what would have saved it."""

import pytest
from hypothesis import HealthCheck, given, settings

from lrtool.errors import UsageError
from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.replay.min_capacity import min_capacity
from lrtool.memory.replay.replay import Scenario, best, replay, surviving_settings
from lrtool.memory.replay.segments import BlockState, segments_after
from lrtool.memory.replay.timeline import per_op_rows, usage_of
from lrtool.memory.trace.allocation_trace import AllocationTrace, Note, Op, TraceError
from lrtool.memory.trace.builder import TraceBuilder
from tests.memory.traces import MIB, Call, calls, repeated, trace_of


def fragmented() -> AllocationTrace:
    """20 MiB stay in a segment of 60, and then 50 are wanted."""
    builder = TraceBuilder("fragmented")
    builder.alloc("first", 60 * MIB)
    builder.free("first")
    builder.alloc("kept", 20 * MIB)
    builder.alloc("big", 50 * MIB, note=Note(phase="backward", source="train.py:41"))
    return builder.build()


def leaking(times: int) -> AllocationTrace:
    """A step that keeps 3 MiB each time."""
    builder = TraceBuilder("leaking")
    builder.begin_repeat(times)
    builder.alloc("activation", 6 * MIB)
    builder.alloc(None, 3 * MIB, note=Note(source="train.py:41"))
    builder.free("activation")
    builder.end_repeat()
    return builder.build()


class TestOutcome:
    def test_a_run_that_fits_survives(self) -> None:
        result = replay(fragmented())
        assert result.survived
        assert result.peaks.allocated_bytes == 70 * MIB
        assert result.peaks.reserved_bytes == 110 * MIB
        assert result.num_device_allocs == 2

    def test_it_is_fragmentation_where_all_free_memory_would_have_been_enough(self) -> None:
        failure = replay(fragmented(), Scenario(capacity_bytes=90 * MIB)).oom
        assert failure is not None
        assert (failure.request, failure.size_bytes, failure.cause, failure.status) == (
            3,
            50 * MIB,
            "fragmentation",
            "oom",
        )
        assert (failure.phase, failure.source) == ("backward", "train.py:41")
        assert (failure.largest_free_bytes, failure.free_bytes) == (40 * MIB, 70 * MIB)

    def test_it_is_capacity_where_it_would_not(self) -> None:
        failure = replay(leaking(100), Scenario(capacity_bytes=64 * MIB)).oom
        assert failure is not None
        assert failure.cause == "capacity"
        assert failure.source == "train.py:41"

    def test_free_memory_of_another_stream_is_barred(self) -> None:
        trace = trace_of(("alloc", 1, 9 * MIB, 1), ("alloc", 2, 2 * MIB, 1), ("free", 1), ("alloc", 3, 5 * MIB, 2))
        failure = replay(trace, Scenario(capacity_bytes=20 * MIB)).oom
        assert failure is not None
        assert (failure.cause, failure.is_barred) == ("capacity", True)

    def test_without_caching_failure_is_a_plain_error_and_the_peak_is_the_devices(self) -> None:
        assert replay(fragmented(), Scenario(no_caching=True)).peaks.reserved_bytes == 70 * MIB
        failure = replay(fragmented(), Scenario(settings="PYTORCH_NO_CUDA_MEMORY_CACHING=1", capacity_bytes=MIB)).oom
        assert failure is not None
        assert failure.status == "error"

    def test_a_setting_the_release_lacks_is_an_error(self) -> None:
        with pytest.raises(UsageError, match=r"torch 2\.0 has no allocator setting expandable_segments"):
            replay(fragmented(), Scenario(settings="expandable_segments:True", version=TorchVersion(2, 0)))

    def test_a_setting_that_fails_within_the_trace_is_named_with_it(self) -> None:
        builder = TraceBuilder("trace.jsonl")
        builder.change_settings("max_split_size_mb:1")
        with pytest.raises(TraceError, match=r"trace\.jsonl: settings 'max_split_size_mb:1'"):
            replay(builder.build())

    def test_ratios_are_those_of_the_moment_when_most_was_reserved(self) -> None:
        result = replay(fragmented())
        assert result.fragmentation.fragmentation == pytest.approx(1 - 70 / 110)
        assert result.fragmentation.split_fragmentation == pytest.approx(40 / 110)
        assert result.fragmentation.largest_free_ratio == 1.0


class TestCures:
    def test_settings_that_would_survive_are_named(self) -> None:
        trace = fragmented()
        assert surviving_settings(trace, Scenario(capacity_bytes=69 * MIB)) == ()
        assert surviving_settings(trace, Scenario(capacity_bytes=90 * MIB)) == ("expandable_segments:True",)
        assert surviving_settings(trace, Scenario(capacity_bytes=90 * MIB, version=TorchVersion(2, 0))) == ()

    def test_the_best_survives_and_reserves_least(self) -> None:
        scenarios = [Scenario(settings=each, capacity_bytes=90 * MIB) for each in ("", "expandable_segments:True")]
        assert best(replay(fragmented(), each) for each in scenarios).scenario == scenarios[1]


class TestMinCapacity:
    def test_flushing_the_cache_saves_what_is_not_split(self) -> None:
        trace = trace_of(("alloc", 1, 30 * MIB), ("free", 1), ("alloc", 2, 40 * MIB))
        found = min_capacity(trace)
        assert found is not None
        assert (found.capacity_bytes, found.unpressured_peak_bytes) == (40 * MIB, 70 * MIB)
        assert (found.is_proven, found.num_alloc_retries) == (True, 1)

    def test_without_caching_it_is_exact_to_the_byte(self) -> None:
        found = min_capacity(trace_of(("alloc", 1, 1001), ("alloc", 2, 77)), Scenario(no_caching=True))
        assert found is not None
        assert found.capacity_bytes == 1078

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(calls(max_size=30).filter(lambda made: any(call[0] == "alloc" for call in made)))
    def test_one_segment_less_and_it_does_not_fit(self, requests: list[Call]) -> None:
        trace = trace_of(*requests)
        found = min_capacity(trace)
        assert found is not None
        assert replay(trace, Scenario(capacity_bytes=found.capacity_bytes)).survived
        assert not replay(trace, Scenario(capacity_bytes=found.capacity_bytes - 2 * MIB)).survived


class TestProof:
    def test_7000_equal_steps_cost_what_10_do(self) -> None:
        body: list[Call] = [("alloc", "a", 5 * MIB), ("alloc", "b", 700), ("free", "a"), ("free", "b")]
        short, long = (replay(repeated(times, [("alloc", "w", MIB)], body, marked=False)) for times in (10, 7000))
        assert long.num_played == short.num_played < 30
        assert long.num_requests == 1 + 7000 * 4
        assert long.peaks == short.peaks
        assert long.stats["allocation.all.allocated"] == 1 + 7000 * 2
        assert len(long.steps) == 7000

    def test_as_many_steps_as_can_be_written_are_answered_too(self) -> None:
        result = replay(repeated(10_000_000, [], [("alloc", "a", 5 * MIB), ("free", "a")], marked=False))
        assert result.stats["allocation.all.allocated"] == 10_000_000
        assert len(result.steps) == 100_000

    def test_equal_steps_between_marks_are_found(self) -> None:
        body: list[Call] = [("alloc", "a", 5 * MIB), ("free", "a")]
        assert replay(repeated(1000, [], body, marked=True)).num_played < 20

    def test_cycles_of_up_to_four_steps_are_found(self) -> None:
        builder = TraceBuilder("odd and even")
        for step in range(1000):
            builder.call(Op.STEP)
            builder.alloc(step, (1 + step % 4) * MIB)
            builder.free(step)
        assert replay(builder.build()).num_played < 100

    def test_a_leak_never_repeats_and_is_played_until_memory_runs_out(self) -> None:
        result = replay(leaking(7000), Scenario(capacity_bytes=1000 * MIB))
        assert result.oom is not None
        assert result.num_played == result.oom.request
        assert result.steps[10].allocated_bytes - result.steps[9].allocated_bytes == 3 * MIB

    def test_a_failure_in_the_remainder_is_found_at_its_request(self) -> None:
        builder = TraceBuilder("late")
        builder.begin_repeat(1000)
        builder.alloc("a", 5 * MIB)
        builder.free("a")
        builder.end_repeat()
        builder.alloc("too large", 50 * MIB)
        failure = replay(builder.build(), Scenario(capacity_bytes=40 * MIB)).oom
        assert failure is not None
        assert failure.request == 2000


class TestRows:
    def test_each_request_has_status_place_and_statistics(self) -> None:
        rows = list(per_op_rows(trace_of(("alloc", 1, 0), ("alloc", 2, 50 * MIB), ("free", 2), ("free", 1)),
                                Scenario(capacity_bytes=40 * MIB)))  # fmt: skip
        assert [row["status"] for row in rows] == ["ok", "oom", "noop", "ok"]
        assert [row["where"] for row in rows] == [None] * 4

    def test_repeats_are_written_out(self) -> None:
        trace = repeated(3, [("alloc", "w", 512)], [("alloc", "a", 512), ("free", "a")], marked=False)
        assert [row["where"] for row in per_op_rows(trace)] == [[0, 0], *[[0, 512], None] * 3]

    def test_usage_keeps_the_peak_however_few_the_samples(self) -> None:
        requests: list[Call] = [
            call for key in range(500) for call in (("alloc", key, 512 * (key % 97)), ("free", key))
        ]
        requests[600:600] = [("alloc", "peak", 90 * MIB), ("free", "peak")]
        usage = usage_of(trace_of(*requests), max_samples=10)
        assert len(usage.samples) <= 12
        assert (usage.peak.request, usage.peak.active_bytes) == (600, 90 * MIB)
        assert usage.peak in usage.samples

    def test_the_usage_of_equal_steps_is_drawn_without_playing_them_all(self) -> None:
        usage = usage_of(repeated(10_000_000, [], [("alloc", "a", 5 * MIB), ("free", "a")], marked=False))
        assert (usage.peak.request, usage.peak.active_bytes) == (0, 5 * MIB)
        assert usage.samples[-1].request == usage.num_requests - 1

    def test_a_picture_can_be_taken_within_what_a_proof_skips(self) -> None:
        trace = repeated(1000, [], [("alloc", "a", 5 * MIB), ("free", "a")], marked=False)
        for request, state in ((0, BlockState.ALLOCATED), (1000, BlockState.ALLOCATED), (1001, BlockState.INACTIVE)):
            assert segments_after(trace, request=request)[0].blocks[0].state is state

    def test_usage_ends_where_a_request_fails(self) -> None:
        assert usage_of(fragmented(), Scenario(capacity_bytes=90 * MIB)).failed_at == 3

    def test_the_picture_shows_used_and_free_blocks(self) -> None:
        views = segments_after(fragmented(), Scenario(capacity_bytes=90 * MIB), request=10**9)
        states = [[(block.size_bytes // MIB, block.state) for block in view.blocks] for view in views]
        assert states == [[(20, BlockState.ALLOCATED), (40, BlockState.INACTIVE)]]
