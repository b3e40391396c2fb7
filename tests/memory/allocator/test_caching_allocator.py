"""The allocator's rules, each in a case small enough to be worked by hand."""

from collections.abc import Iterator

import pytest

from lrtool.memory.allocator.blocks import Block, PendingFrees
from lrtool.memory.allocator.caching_allocator import (
    Allocator,
    DeviceAllocationError,
    OutOfMemoryError,
    UncachedAllocator,
)
from lrtool.memory.allocator.config import parse_settings
from lrtool.memory.allocator.heap import AllocatorAssertError
from lrtool.memory.allocator.versions import LATEST, TorchVersion
from tests.memory.traces import MIB


def allocator(conf: str = "", *, mib: int = 4096, version: TorchVersion = LATEST, manual: bool = False) -> Allocator:
    settings = parse_settings(conf, version=version)
    return Allocator(settings, total_bytes=mib * MIB, version=version, manual_events=manual)


def place(block: Block) -> tuple[int, int]:
    return block.segment.index, block.offset


def stat(device: Allocator, name: str) -> int:
    return device.memory_stats()[name]


class TestSegments:
    @pytest.mark.parametrize(
        ("request_bytes", "segment_mib"),
        [(1, 2), (MIB, 2), (MIB + 1, 20), (10 * MIB - 512, 20), (10 * MIB, 10), (10 * MIB + 1, 12), (31 * MIB, 32)],
    )
    def test_small_requests_share_2_mib_middle_ones_20_and_large_ones_are_rounded_to_2(
        self, request_bytes: int, segment_mib: int
    ) -> None:
        device = allocator()
        device.alloc(request_bytes)
        assert device.reserved_bytes == segment_mib * MIB

    def test_the_front_of_a_block_is_handed_out_and_the_rest_stays_free(self) -> None:
        device = allocator()
        assert [place(device.alloc(size)) for size in (512, 1, 1024)] == [(0, 0), (0, 512), (0, 1024)]
        assert stat(device, "inactive_split_bytes.all.current") == 2 * MIB - 2048

    def test_a_large_block_is_not_split_for_a_rest_of_1_mib(self) -> None:
        device = allocator()
        device.free(device.alloc(14 * MIB))
        whole = device.alloc(13 * MIB)
        assert whole.size == 14 * MIB
        device.free(whole)
        assert device.alloc(13 * MIB - 1).size == 14 * MIB
        assert device.alloc(14 * MIB).segment.index == 1

    def test_a_rest_of_more_than_1_mib_is_split_off(self) -> None:
        device = allocator()
        device.free(device.alloc(14 * MIB))
        assert device.alloc(13 * MIB - 512).size == 13 * MIB - 512

    def test_best_fit_takes_the_smallest_block_that_is_large_enough(self) -> None:
        device = allocator()
        large, exact, larger = device.alloc(40 * MIB), device.alloc(30 * MIB), device.alloc(36 * MIB)
        for block in (large, exact, larger):
            device.free(block)
        assert place(device.alloc(29 * MIB)) == (1, 0)
        assert place(device.alloc(31 * MIB)) == (2, 0)

    def test_neighbours_merge_when_freed(self) -> None:
        device = allocator()
        first, second, third = (device.alloc(4 * MIB) for _ in range(3))
        device.free(first)
        device.free(third)
        assert stat(device, "inactive_split.all.current") == 2
        device.free(second)
        assert stat(device, "inactive_split.all.current") == 0
        assert device.largest_free_bytes() == 20 * MIB

    def test_a_block_belongs_to_its_stream_until_it_goes_back_to_the_device(self) -> None:
        device = allocator(mib=20)
        device.free(device.alloc(15 * MIB, 1))
        assert place(device.alloc(15 * MIB, 2)) == (1, 0)
        assert stat(device, "num_alloc_retries") == 1


class TestFailure:
    def test_the_cache_is_released_before_giving_up_and_stays_released(self) -> None:
        device = allocator(mib=100)
        device.free(device.alloc(60 * MIB))
        with pytest.raises(OutOfMemoryError):
            device.alloc(101 * MIB)
        assert device.reserved_bytes == 0
        assert [stat(device, f"num_{name}") for name in ("alloc_retries", "ooms", "sync_all_streams")] == [1, 1, 1]

    def test_split_segments_cannot_be_released(self) -> None:
        device = allocator(mib=60)
        first, second = device.alloc(8 * MIB), device.alloc(8 * MIB)
        device.free(first)
        with pytest.raises(OutOfMemoryError):
            device.alloc(42 * MIB)
        device.free(second)
        device.alloc(42 * MIB)

    def test_a_fraction_limits_what_may_be_reserved(self) -> None:
        device = allocator("per_process_memory_fraction:0.5", mib=100)
        device.alloc(50 * MIB)
        with pytest.raises(OutOfMemoryError):
            device.alloc(1)

    def test_throwing_at_once_keeps_the_cache(self) -> None:
        device = allocator("throw_on_cudamalloc_oom:True", mib=100)
        device.free(device.alloc(60 * MIB))
        with pytest.raises(OutOfMemoryError):
            device.alloc(80 * MIB)
        assert device.reserved_bytes == 60 * MIB
        assert (stat(device, "num_ooms"), stat(device, "num_oom_rejections")) == (0, 1)


class TestStreams:
    def test_a_block_another_stream_used_stays_active_until_that_stream_is_done(self) -> None:
        device = allocator(manual=True)
        block = device.alloc(4 * MIB)
        device.record_stream(block, 7)
        device.free(block)
        assert stat(device, "allocated_bytes.all.current") == 0
        assert stat(device, "active_bytes.all.current") == 4 * MIB
        assert device.alloc(4 * MIB).offset == 4 * MIB
        device.advance(7)
        assert device.alloc(4 * MIB).offset == 0

    def test_a_blocks_own_stream_needs_no_waiting(self) -> None:
        device = allocator(manual=True)
        block = device.alloc(4 * MIB, 3)
        device.record_stream(block, 3)
        device.free(block)
        assert stat(device, "active_bytes.all.current") == 0


class TestOptions:
    def test_max_split_size_keeps_oversize_blocks_whole(self) -> None:
        device = allocator("max_split_size_mb:64")
        device.free(device.alloc(100 * MIB))
        assert place(device.alloc(30 * MIB)) == (1, 0)
        assert place(device.alloc(81 * MIB)) == (0, 0)
        assert stat(device, "oversize_allocations.current") == 1

    def test_an_oversize_block_may_be_too_large_by_less_than_the_rounding(self) -> None:
        device = allocator("max_split_size_mb:64")
        device.free(device.alloc(100 * MIB))
        assert place(device.alloc(80 * MIB)) == (1, 0)

    def test_garbage_collection_releases_whole_blocks_of_average_age_or_older(self) -> None:
        device = allocator("garbage_collection_threshold:0.5,per_process_memory_fraction:1.0", mib=100)
        old, young = device.alloc(30 * MIB), device.alloc(32 * MIB)
        device.free(old)
        device.alloc(40 * MIB // 2)
        device.free(young)
        device.alloc(34 * MIB)
        assert stat(device, "num_device_free") == 1

    def test_powers_of_two_are_divided(self) -> None:
        device = allocator("roundup_power2_divisions:4")
        assert [device.alloc(size).size for size in (1200, 2049, 5 * MIB + 1, 8 * MIB)] == [
            1536,
            2560,
            6 * MIB,
            8 * MIB,
        ]

    def test_large_segments_can_be_larger(self) -> None:
        device = allocator("large_segment_size_mb:40")
        device.alloc(3 * MIB)
        assert device.reserved_bytes == 40 * MIB

    def test_expandable_segments_grow_in_pages_and_give_back_whole_ones(self) -> None:
        device = allocator("expandable_segments:True", mib=100)
        first, second = device.alloc(30 * MIB), device.alloc(30 * MIB)
        assert (place(second), device.reserved_bytes) == ((0, 30 * MIB), 60 * MIB)
        device.free(first)
        device.empty_cache()
        assert device.reserved_bytes == 40 * MIB
        assert stat(device, "inactive_split_bytes.all.current") == 0
        assert place(device.alloc(40 * MIB)) == (0, 60 * MIB)

    def test_settings_change_at_run_time_and_expandable_ones_persist(self) -> None:
        device = allocator("max_split_size_mb:64")
        device.change_settings("expandable_segments:True")
        device.change_settings("roundup_power2_divisions:2")
        assert device.settings.expandable_segments
        assert device.settings.max_split_bytes > 2**40
        assert stat(device, "max_split_size") == 64 * MIB

    def test_releasing_a_split_block_that_became_oversize_is_refused(self) -> None:
        device = allocator(mib=200)
        front, _tail = device.alloc(60 * MIB), device.alloc(130 * MIB)
        device.free(front)
        device.alloc(10 * MIB)
        device.change_settings("max_split_size_mb:21")
        with pytest.raises(AllocatorAssertError):
            device.alloc(60 * MIB)

    def test_without_caching_every_tensor_is_its_own_and_nothing_is_counted(self) -> None:
        device = UncachedAllocator(total_bytes=1000)
        first = device.alloc(700)
        with pytest.raises(DeviceAllocationError):
            device.alloc(301)
        device.free(first)
        assert place(device.alloc(1000)) == (1, 0)
        assert {value for key, value in device.memory_stats().items() if key != "max_split_size"} == {0}


class TestReleases:
    def test_ties_went_by_age_of_the_block_in_2_12_and_by_segment_since(self) -> None:
        chosen = {}
        for minor in (11, 12, 13):
            device = allocator(version=TorchVersion(2, minor))
            front, keeper = device.alloc(4 * MIB), device.alloc(12 * MIB)
            other = device.alloc(24 * MIB)
            device.free(front)
            tail = device.alloc(4 * MIB)
            device.free(tail)
            chosen[minor] = place(device.alloc(4 * MIB))
            del keeper, other
        assert chosen[11] == chosen[13] == (0, 0)
        assert chosen[12] == (0, 16 * MIB)

    def test_division_1_left_sizes_as_they_were_until_2_3(self) -> None:
        conf = "roundup_power2_divisions:[256:1]"
        assert allocator(conf, version=TorchVersion(2, 3)).alloc(1001).size == 1001
        assert allocator(conf, version=TorchVersion(2, 4)).alloc(1001).size == 1024

    def test_releasing_expandable_oversize_blocks_asserted_until_2_4(self) -> None:
        conf = "expandable_segments:True,max_split_size_mb:40"
        for minor, error in ((4, AllocatorAssertError), (5, OutOfMemoryError)):
            device = allocator(conf, mib=100, version=TorchVersion(2, minor))
            device.free(device.alloc(60 * MIB))
            with pytest.raises(error):
                device.alloc(110 * MIB)


class TestStatistics:
    def test_peaks_and_sums_are_reset_apart(self) -> None:
        device = allocator()
        block = device.alloc(4 * MIB)
        device.alloc(3 * MIB)
        device.free(block)
        device.statistics.reset_peaks()
        assert stat(device, "allocated_bytes.all.peak") == 3 * MIB
        assert stat(device, "allocated_bytes.all.allocated") == 7 * MIB
        device.statistics.reset_accumulated()
        assert stat(device, "allocated_bytes.all.allocated") == stat(device, "allocated_bytes.all.freed") == 0
        device.alloc(MIB)
        assert stat(device, "allocation.small_pool.allocated") == 1

    def test_requested_bytes_are_the_callers(self) -> None:
        device = allocator()
        device.alloc(1000)
        assert stat(device, "requested_bytes.all.current") == 1000
        assert stat(device, "allocated_bytes.all.current") == 1024


def test_frees_that_wait_cost_nothing_at_an_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    complete = PendingFrees._complete

    def counted(pending: PendingFrees, stream: int, count: int) -> Iterator[Block]:
        looked_at.append(stream)
        yield from complete(pending, stream, count)

    monkeypatch.setattr(PendingFrees, "_complete", counted)
    allocator = Allocator(total_bytes=2**40, manual_events=True)
    for stream in range(1, 200):
        block = allocator.alloc(512)
        allocator.record_stream(block, stream)
        allocator.free(block)
    allocator.advance(7)
    allocator.alloc(512)

    assert looked_at == [7]
