"""What runs, and in which order, follows from the axes alone."""

import time
from typing import Any

import pytest

from lrtool.config import MemSweepSettings
from lrtool.errors import UsageError
from lrtool.sweep.plan import MAX_TRIALS, PlannedTrial, plan_trials, split_values


def planned(*, seed: int = 0, params: dict[str, Any] | None = None, **settings: Any) -> tuple[PlannedTrial, ...]:
    return plan_trials(MemSweepSettings(**settings), params=params or {}, seed=seed)


def test_a_trial_for_each_step_size_of_one_cycle_each() -> None:
    trials = planned(step_sizes=(2500, 3000, 3500))

    assert [(t.number, t.condition.step_size_up, t.condition.step_size_down, t.num_steps) for t in trials] == [
        (1, 2500, 2500, 5000), (2, 3000, 3000, 6000), (3, 3500, 3500, 7000),
    ]  # fmt: skip


def test_a_trial_is_as_long_as_its_cycles_or_as_it_is_told() -> None:
    assert [t.num_steps for t in planned(step_sizes=(10, 20), step_size_down=(5,), cycles=2)] == [30, 50]
    assert [t.num_steps for t in planned(step_sizes=(10, 20), steps=7)] == [7, 7]


def test_every_combination_is_tried() -> None:
    trials = planned(
        step_sizes=(10, 20),
        settings=("", "expandable_segments:True"),
        precision=("fp32", "bf16"),
        batch_size=(8, 16, 32),
    )

    assert len({repr(trial.condition) for trial in trials}) == len(trials) == 2 * 2 * 2 * 3


def test_arguments_of_build_are_axes_too() -> None:
    trials = planned(step_sizes=(10,), params={"width": "8,16", "layers": 2, "sizes": "[1,2],(3,4)"})

    assert [trial.condition.params for trial in trials] == [
        {"width": width, "layers": 2, "sizes": sizes} for width in ("8", "16") for sizes in ("[1,2]", "(3,4)")
    ]


def test_a_sweep_of_many_trials_is_planned_at_once() -> None:
    begin = time.process_time()
    trials = planned(step_sizes=(10, 20), repeats=MAX_TRIALS // 2)

    assert time.process_time() - begin < 5
    assert sorted(trial.position for trial in trials) == list(range(MAX_TRIALS))


@pytest.mark.parametrize(
    ("settings", "params", "count"),
    [
        ({"repeats": 1_000_000}, {}, "3,000,000"),
        ({"batch_size": tuple(range(1, 200)), "settings": ("", "a:1") * 20}, {}, "23,880"),
        ({"step_sizes": (1,)}, {name: ",".join("1234567890" * 30) for name in "abcdef"}, "729,000,000,000,000"),
        ({"mode": ("triangular", "exp_range"), "gamma": (0.9,) * 50, "schedule": ("cyclic", "constant"), "repeats": 99},
         {}, "15,444"),
    ],
)  # fmt: skip
def test_a_sweep_that_nobody_waits_for_is_refused_before_it_is_planned(
    settings: dict[str, Any], params: dict[str, Any], count: str
) -> None:
    with pytest.raises(UsageError, match=f"{count} trials"):
        planned(params=params, **settings)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a, b", ["a", "b"]),
        ("[1,2]", ["[1,2]"]),
        ("'x,y',z", ["'x,y'", "z"]),
        ("{1: 'a,b'},2", ["{1: 'a,b'}", "2"]),
    ],
)
def test_commas_in_brackets_and_quotes_are_part_of_a_value(text: str, values: list[str]) -> None:
    assert split_values(text) == values


def test_what_a_schedule_does_not_know_of_is_not_varied_under_it() -> None:
    trials = planned(
        step_sizes=(10,), schedule=("cyclic", "constant"), mode=("triangular", "exp_range"), gamma=(0.9, 0.99)
    )

    assert [(t.condition.schedule, t.condition.mode, t.condition.gamma) for t in trials] == [
        ("cyclic", "triangular", 0.9), ("cyclic", "exp_range", 0.9), ("cyclic", "exp_range", 0.99),
        ("constant", "triangular", 1.0),
    ]  # fmt: skip


def test_repeats_have_the_same_seed_and_a_number_each() -> None:
    assert [(t.condition.step_size_up, t.repeat, t.seed) for t in planned(step_sizes=(10, 20), repeats=2, seed=5)] == [
        (10, 0, 5), (10, 1, 5), (20, 0, 5), (20, 1, 5),
    ]  # fmt: skip


def test_a_step_size_given_twice_is_a_repeat() -> None:
    assert [(t.condition.step_size_up, t.repeat) for t in planned(step_sizes=(10, 10))] == [(10, 0), (10, 1)]


def test_the_order_is_shuffled_by_the_seed_or_as_given() -> None:
    def order(**settings: Any) -> list[int]:
        return [trial.position for trial in planned(step_sizes=tuple(range(1, 21)), **settings)]

    assert order(order="given") == list(range(20))
    assert sorted(order()) == list(range(20)) != order()
    assert order(seed=1) == order(seed=1) != order(seed=2)
