"""Between which bytes a peak lies: estimates, other answers, convolutions, and addresses that nobody knows."""

from dataclasses import replace
from typing import Any

import pytest

from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.replay.interval import fits_surely, peak_interval
from lrtool.memory.replay.replay import Scenario, replay
from lrtool.memory.trace.allocation_trace import AllocationTrace, Note
from lrtool.memory.trace.builder import TraceBuilder
from lrtool.results import Assumption, PeakInterval
from tests.memory.traces import MIB

BY_CREATION, BY_ADDRESS = TorchVersion(2, 13), TorchVersion(2, 6)


def assumed(**fields: Any) -> Assumption:
    return Assumption(**({"kind": "value", "source": "train.py:3", "asked": "if x:", "taken": "yes"} | fields))


def plain(num_mib: int = 40, note: Note | None = None) -> AllocationTrace:
    builder = TraceBuilder("plain")
    builder.alloc("kept", num_mib * MIB, note=note or Note())
    return builder.build()


def of_equals() -> AllocationTrace:
    """30 MiB are wanted where two free blocks have as much: one beside 20 MiB that are freed next, and then 40 are wanted."""
    builder = TraceBuilder("of equals")
    builder.alloc("first", 50 * MIB)
    builder.alloc("second", 30 * MIB)
    builder.free("first")
    builder.alloc("beside", 20 * MIB)
    builder.free("second")
    builder.alloc("wanted", 30 * MIB)
    builder.free("beside")
    builder.alloc("last", 40 * MIB)
    return builder.build()


def in_mib(found: PeakInterval | None) -> tuple[tuple[float, float], tuple[float, float]]:
    assert found is not None
    allocated, reserved = ([each / MIB for each in ends] for ends in (found.allocated_ends, found.reserved_ends))
    return (allocated[0], allocated[1]), (reserved[0], reserved[1])


def test_what_rests_on_nothing_has_none() -> None:
    assert peak_interval(plain(), Scenario(version=BY_CREATION), ()) is None
    assert peak_interval(plain(), Scenario(version=BY_ADDRESS), (assumed(),)) is None


def test_an_estimate_is_replayed_at_both_ends() -> None:
    trace = plain(40, Note(low_bytes=20 * MIB, high_bytes=60 * MIB))

    assert in_mib(peak_interval(trace, Scenario(), ())) == ((20, 60), (20, 60))


def test_other_answers_free_and_use_what_they_do_and_a_question_counts_once() -> None:
    assumptions = (assumed(below_bytes=MIB), assumed(below_bytes=MIB), assumed(asked="if y:", above_bytes=3 * MIB))

    assert in_mib(peak_interval(plain(), Scenario(), assumptions)) == ((39, 43), (39, 43))


def test_no_more_can_be_less_than_there_is() -> None:
    assert in_mib(peak_interval(plain(), Scenario(), (assumed(below_bytes=50 * MIB),))) == ((0, 40), (0, 40))


def test_convolutions_spread_what_is_reserved() -> None:
    found = peak_interval(plain(100), Scenario(), (assumed(kind="convolution", below_bytes=MIB, above_bytes=0),))
    spread = peak_interval(plain(100), Scenario(), (assumed(kind="convolution"),))

    assert in_mib(found) == ((99, 100), (90, 121))
    assert in_mib(spread) == ((100, 100), (91, 121))


@pytest.mark.parametrize(("placement", "reserved"), [("up", 120), ("down", 80), ("scattered", 80)])
def test_where_a_segment_lies_decides_between_equals(placement: Any, reserved: int) -> None:
    scenario = Scenario(version=BY_ADDRESS, placement=placement)

    assert replay(of_equals(), scenario).peaks.reserved_bytes == reserved * MIB


def test_addresses_move_what_is_reserved_where_the_release_goes_by_them() -> None:
    assert in_mib(peak_interval(of_equals(), Scenario(version=BY_ADDRESS), ())) == ((80, 80), (80, 120))
    assert peak_interval(of_equals(), Scenario(version=BY_CREATION), ()) is None


@pytest.mark.parametrize(
    ("capacity", "assumptions", "fits"),
    [
        (None, (), True),
        (40, (), True),
        (39, (), False),
        (45, (assumed(above_bytes=5 * MIB),), True),
        (44, (assumed(above_bytes=5 * MIB),), False),
        (49, (assumed(kind="convolution"),), True),
        (47, (assumed(kind="convolution"),), False),
    ],
)
def test_it_fits_where_the_most_does(capacity: int | None, assumptions: tuple[Assumption, ...], fits: bool) -> None:
    scenario = Scenario(capacity_bytes=None if capacity is None else capacity * MIB)

    assert fits_surely(plain(), scenario, assumptions) is fits


def test_it_fits_where_every_estimate_at_its_most_does() -> None:
    trace = plain(40, Note(low_bytes=20 * MIB, high_bytes=60 * MIB))

    assert not fits_surely(trace, Scenario(capacity_bytes=50 * MIB), ())
    assert fits_surely(trace, Scenario(capacity_bytes=60 * MIB), ())


def test_it_fits_wherever_segments_lie() -> None:
    by_address = Scenario(version=BY_ADDRESS, placement="down")

    assert not fits_surely(of_equals(), replace(by_address, capacity_bytes=85 * MIB), ())
    assert fits_surely(of_equals(), replace(by_address, capacity_bytes=90 * MIB), ())  # one segment is given back
