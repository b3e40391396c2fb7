"""Settings of the allocator as cures, on streams whose course is worked out by hand."""

from collections.abc import Iterator

import pytest

from lrtool.diagnosis.cures.allocator_settings import SettingsToTry, settings_to_try, split_values
from lrtool.diagnosis.cures.cure import Replayed
from lrtool.memory.allocator.versions import LATEST, TorchVersion
from lrtool.memory.replay.replay import Scenario, replay
from lrtool.memory.trace.allocation_trace import AllocationTrace
from tests.memory.traces import Call, trace_of

MIB = 2**20
CAPACITY = 100 * MIB


def cures_of(
    trace: AllocationTrace, *, base: str = "", version: TorchVersion = LATEST, capacity: int | None = CAPACITY
) -> dict[str, SettingsToTry]:
    replayed = Replayed(trace=trace, version=version, capacity_bytes=capacity)
    return {each.cure.name: each for each in settings_to_try(replayed, base=base)}


def reserved_mib(trace: AllocationTrace, settings: str = "", capacity: int | None = None) -> float:
    return replay(trace, Scenario(settings=settings, capacity_bytes=capacity)).peaks.reserved_bytes / MIB


def least_reserved_mib(trace: AllocationTrace, name: str) -> float:
    return min(reserved_mib(trace, text) for text in cures_of(trace)[name].settings)


def one_after_the_other(*megabytes: float) -> Iterator[Call]:
    for number, size in enumerate(megabytes):
        yield ("alloc", number, int(size * MIB))
        yield ("free", number)


def test_growing_requests_leave_segments_behind_that_expandable_ones_reuse() -> None:
    trace = trace_of(*one_after_the_other(20, 40, 60))

    assert reserved_mib(trace) == 20 + 40 + 60
    assert least_reserved_mib(trace, "expandable-segments") == 60


def test_expandable_segments_have_nothing_to_save_where_sizes_repeat() -> None:
    trace = trace_of(*one_after_the_other(40, 40, 40))

    assert reserved_mib(trace) == least_reserved_mib(trace, "expandable-segments") == 40


BIG_SPLIT_BY_SMALL: tuple[Call, ...] = (
    ("alloc", "big", 40 * MIB), ("free", "big"), ("alloc", "small", 2 * MIB), ("alloc", "again", 40 * MIB),
)  # fmt: skip


def test_a_large_block_that_is_not_split_is_there_for_the_next_large_request() -> None:
    trace = trace_of(*BIG_SPLIT_BY_SMALL)

    assert cures_of(trace)["max-split-size"].settings == ("max_split_size_mb:40",)
    assert reserved_mib(trace) == 40 + 40
    assert least_reserved_mib(trace, "max-split-size") == 40 + 20


def test_without_a_large_request_there_is_no_block_to_keep_whole() -> None:
    cure = cures_of(trace_of(*one_after_the_other(2, 5, 10)))["max-split-size"]

    assert cure.settings == ()
    assert cure.reason == "no request is as large as its smallest legal value, 20 MiB"


@pytest.mark.parametrize(
    ("megabytes", "values"),
    [((1, 2, 64), (64,)), ((1, 24, 25, 26, 100, 400), (24, 100, 400)), ((1, 2, 3), ()), ((30,), (30,)), ((), ())],
)
def test_split_sizes_lie_at_the_widest_gaps_between_requests(
    megabytes: tuple[int, ...], values: tuple[int, ...]
) -> None:
    assert split_values([size * MIB for size in megabytes], lowest_mb=20) == values


OLD_BLOCK_CACHED: tuple[Call, ...] = (
    ("alloc", "old", 12 * MIB), ("free", "old"), ("alloc", "live", 70 * MIB), ("alloc", "new", 16 * MIB),
)  # fmt: skip


def test_garbage_collection_gives_an_old_block_back_when_four_fifths_are_reserved() -> None:
    trace = trace_of(*OLD_BLOCK_CACHED)
    cure = cures_of(trace)["garbage-collection"]

    assert cure.cure.at_capacity
    assert reserved_mib(trace, capacity=CAPACITY) == 12 + 70 + 16
    assert reserved_mib(trace, cure.settings[0], capacity=CAPACITY) == 70 + 16


def test_garbage_collection_does_nothing_below_that() -> None:
    trace = trace_of(*OLD_BLOCK_CACHED[:3])
    (value,) = cures_of(trace, capacity=2 * CAPACITY)["garbage-collection"].settings

    assert reserved_mib(trace, value, capacity=2 * CAPACITY) == reserved_mib(trace, capacity=2 * CAPACITY) == 82


def test_garbage_collection_needs_a_limit_and_an_option_that_sets_it() -> None:
    trace = trace_of(*one_after_the_other(30))

    without = cures_of(trace, capacity=None)["garbage-collection"]
    old = cures_of(trace, version=TorchVersion(2, 8))["garbage-collection"]

    assert without.reason == "it acts only where memory is limited, and no capacity is given"
    assert old.reason == "torch 2.8 needs torch.cuda.set_per_process_memory_fraction(1.0) with it"
    assert without.settings == old.settings == ()


def test_requests_of_about_one_size_share_a_segment_once_they_are_rounded_up() -> None:
    trace = trace_of(*one_after_the_other(34, 38, 42, 46))

    assert reserved_mib(trace) == 34 + 38 + 42 + 46
    assert least_reserved_mib(trace, "roundup") == 48


def test_rounding_up_only_costs_where_sizes_repeat() -> None:
    trace = trace_of(*one_after_the_other(34, 34, 34))

    assert reserved_mib(trace) == 34
    assert least_reserved_mib(trace, "roundup") >= 34


def test_an_option_that_is_set_already_is_left_and_others_come_on_top() -> None:
    cures = cures_of(trace_of(*BIG_SPLIT_BY_SMALL), base="expandable_segments:True")

    assert cures["expandable-segments"].reason == "it is set already"
    assert cures["roundup"].settings[0] == "expandable_segments:True,roundup_power2_divisions:2"


def test_what_this_torch_does_not_have_is_not_tried() -> None:
    assert cures_of(trace_of(*BIG_SPLIT_BY_SMALL), version=TorchVersion(2, 0))["expandable-segments"].reason == (
        "torch 2.0 does not have it"
    )
