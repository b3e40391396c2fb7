"""The line of code that sets the cycle up."""

import pytest

from lrtool.lr.cyclic import schedule_line, step_size_up
from lrtool.results import GroupRange

ONE = GroupRange(base_lr=0.00123456, max_lr=0.3, suggested_lr=0.1)
TWO = GroupRange(base_lr=1e-5, max_lr=0.003, suggested_lr=0.001)
NONE = GroupRange(base_lr=None, max_lr=None, suggested_lr=None)


@pytest.mark.parametrize(("steps_per_epoch", "steps"), [(23, 92), (1, 4), (None, None)])
def test_half_a_cycle_is_four_epochs(steps_per_epoch: int | None, steps: int | None) -> None:
    assert step_size_up(steps_per_epoch) == steps


def test_one_group() -> None:
    line = schedule_line([ONE], step_size_up=92, cycles_momentum=True)

    assert line == "CyclicLR(optimizer, base_lr=0.00123, max_lr=0.3, step_size_up=92)"


def test_several_groups_become_lists() -> None:
    line = schedule_line([ONE, TWO], step_size_up=None, cycles_momentum=True)

    assert line == "CyclicLR(optimizer, base_lr=[0.00123, 1e-05], max_lr=[0.3, 0.003])"


def test_without_momentum_the_cycle_must_not_switch_it_on() -> None:
    line = schedule_line([ONE], step_size_up=92, cycles_momentum=False)

    assert line is not None
    assert line.endswith("step_size_up=92, cycle_momentum=False)")


def test_without_a_suggestion_there_is_no_line() -> None:
    assert schedule_line([NONE, NONE], step_size_up=92, cycles_momentum=True) is None


def test_a_group_that_keeps_out_stands_in_the_lists_with_zero() -> None:
    line = schedule_line([ONE, NONE], step_size_up=92, cycles_momentum=True)

    assert line is not None
    assert line.count(", 0]") == 2
