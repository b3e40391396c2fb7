"""When an automatic ramp begins lower or goes on higher."""

from dataclasses import replace

import pytest

from lrtool.config import RangeTestSettings
from lrtool.lr.ramp import higher_end, lower_start, ramp_lrs
from tests.lr.curve.test_suggest import curve

AUTO = RangeTestSettings()
LRS = ramp_lrs(AUTO)


def explodes_after(count: int) -> list[float]:
    """A loss that falls from the first step on and explodes."""
    return [2.0 - i / count for i in range(count)] + [1e6] * 20


def test_an_automatic_ramp_takes_45_steps_a_decade_within_its_budget() -> None:
    assert [len(ramp_lrs(replace(AUTO, start_lr=start))) for start in (1e-12, 1e-7, 1e-4, 1e-3, 1.0)] == [
        360, 360, 225, 180, 90,
    ]  # fmt: skip


def test_a_loss_that_falls_and_explodes_at_once_is_tried_again_four_decades_lower() -> None:
    losses = explodes_after(20)
    lower = lower_start(AUTO, LRS[: len(losses)], losses)

    assert lower is not None
    assert lower.start_lr == pytest.approx(1e-11)
    assert lower.end_lr == pytest.approx(1e-6)
    assert lower.num_steps == 225  # 45 for each of 5 decades
    assert lower_start(lower, LRS[: len(losses)], losses) is None


@pytest.mark.parametrize("changes", [{"num_steps": 360}, {"start_lr": 2e-7}, {"mode": "linear"}])
def test_a_ramp_that_was_asked_for_is_left_alone(changes: dict[str, object]) -> None:
    losses = explodes_after(20)
    settings = replace(AUTO, **changes)  # type: ignore[arg-type]

    assert lower_start(settings, LRS[: len(losses)], losses) is None


def test_a_ramp_with_a_beginning_is_not_walked_again() -> None:
    _, losses = curve(count=150)

    assert lower_start(AUTO, LRS[:150], losses) is None


def test_no_steps_are_taken_beyond_the_budget() -> None:
    losses = explodes_after(280)

    assert lower_start(AUTO, LRS[: len(losses)], losses) is None


def test_a_loss_that_still_falls_at_the_end_is_followed_two_decades_up() -> None:
    _, falling = curve(count=360, minimum=100.0)
    more = higher_end(AUTO, falling)

    assert len(more) == 40
    assert (more[0], more[-1]) == pytest.approx((10.0 * 10**0.05, 1000.0))
    assert higher_end(replace(AUTO, end_lr=1.0), falling) == []


def test_a_loss_that_turned_up_is_followed_no_further() -> None:
    _, losses = curve(count=360)

    assert higher_end(AUTO, losses) == []
