"""Every schedule of a sweep against torch's own, step by step: LR and momentum of each group, and what the trial stores."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LinearLR, LRScheduler, OneCycleLR

from lrtool.results.stored.trial_dir import read_lrs
from lrtool.sweep.schedule import ScheduledBuild
from lrtool.workload.target import from_callable
from tests import WORKLOADS
from tests.sweep.running import plan_of, run
from tests.workloads.schedules import LRS, fading, halving, optimizer_of, scheduler_of

Steps = list[list[tuple[float, float]]]
NUM_STEPS = 23
SCALES = f"{WORKLOADS / 'schedules.py'}:"


def taken(optimizer: Optimizer, move_on: Callable[[], object], num_steps: int = NUM_STEPS) -> Steps:
    """LR and momentum of each group, before each step."""
    steps = []
    for _ in range(num_steps):
        steps.append([(float(group["lr"]), momentum(group)) for group in optimizer.param_groups])
        optimizer.step()
        move_on()
    return steps


def momentum(group: dict[str, Any]) -> float:
    return float(group["momentum"] if "momentum" in group else group["betas"][0])


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))


def of_sweep(optimizer: Optimizer, base: Any = (0.02, 0.002), high: Any = (0.2, 0.05), **axes: Any) -> Steps:
    """What a trial does to this optimizer."""
    planned = plan_of("good", **{"step_sizes": (4,), "step_size_down": (3,), **axes}).trials[0]
    build = {
        "model": nn.ParameterList(optimizer.param_groups[0]["params"]), "optimizer": optimizer, "train_loader": [0, 1]
    }  # fmt: skip
    scheduled = ScheduledBuild(
        from_callable(lambda: build, params={}), planned.condition, num_steps=NUM_STEPS, base_lr=base, max_lr=high
    )
    scheduler = scheduled.factory().build(seed=0, device=torch.device("cpu")).scheduler
    steps = taken(optimizer, lambda: scheduler.step(torch.zeros(())))

    assert scheduled.num_steps_done == NUM_STEPS
    assert scheduled.lrs(NUM_STEPS, is_trained=True) == tuple(tuple(lr for lr, _ in step) for step in steps)
    return steps


def of_torch(make: Callable[[Optimizer], LRScheduler], *, skip: int = 0, count: int = NUM_STEPS) -> Steps:
    """What torch's own does, its first steps left out."""
    optimizer = optimizer_of(model())
    scheduler = make(optimizer)
    return taken(optimizer, scheduler.step, count + skip)[skip:]


CYCLIC: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"mode": ("triangular2",)}, {"mode": "triangular2"}),
    ({"mode": ("exp_range",), "gamma": (0.9,)}, {"mode": "exp_range", "gamma": 0.9}),
    ({"scale_fn": (SCALES + "halving",)}, {"scale_fn": halving}),
    ({"scale_fn": (SCALES + "fading",), "scale_mode": ("iterations",)}, {"scale_fn": fading, "scale_mode": "iterations"}),
]  # fmt: skip
MOMENTA: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"cycle_momentum": False}),
    ({"cycle_momentum": (True,)}, {}),
    ({"base_momentum": (0.5,), "max_momentum": (0.99,)}, {"base_momentum": 0.5, "max_momentum": 0.99}),
    ({"base_momentum": ((0.5, 0.6),), "max_momentum": ((0.9, 0.7),)},
     {"base_momentum": [0.5, 0.6], "max_momentum": [0.9, 0.7]}),
    ({"max_momentum": (0.97,)}, {"max_momentum": 0.97}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "momenta"), list(itertools.product(CYCLIC, MOMENTA)))
@pytest.mark.parametrize("last_epoch", [-1, 0, 8])
@pytest.mark.parametrize("had", ["none", "sequential", "onecycle", "cyclic"])
def test_cyclic_is_torchs_own_whatever_was_there_before(form: Any, momenta: Any, last_epoch: int, had: str) -> None:
    ours, theirs = form[0] | momenta[0], form[1] | momenta[1]
    optimizer = optimizer_of(model())
    scheduler_of(had, optimizer)
    for group in optimizer.param_groups:  # which a scheduler before may have moved
        group["momentum"] = 0.9
    base, high = (0.02, 0.002), (0.2, 0.05)

    expected = of_torch(
        lambda optimizer: CyclicLR(optimizer, list(base), list(high), step_size_up=4, step_size_down=3, **theirs),
        skip=last_epoch + 1,
    )

    assert of_sweep(optimizer, base, high, last_epoch=(last_epoch,), **ours) == expected


@pytest.mark.parametrize("momenta", MOMENTA)
@pytest.mark.parametrize("last_epoch", [-1, 8])
@pytest.mark.parametrize("had", ["none", "sequential", "cyclic"])
def test_one_cycle_is_torchs_own_on_each_group(momenta: Any, last_epoch: int, had: str) -> None:
    """torch knows one factor from the first LR to the highest: a group with another one has a scheduler to itself here."""
    optimizer = optimizer_of(model())
    scheduler_of(had, optimizer)
    for group in optimizer.param_groups:
        group["momentum"] = 0.9
    expected = []
    for number, (base, high) in enumerate([(0.02, 0.2), (0.002, 0.05)]):
        own = {name: value[number] if isinstance(value, list) else value for name, value in momenta[1].items()}
        shape: dict[str, Any] = {
            "total_steps": NUM_STEPS + last_epoch + 1,
            "pct_start": 4 / 7,
            "div_factor": high / base,
        }
        alone = of_torch(partial(OneCycleLR, max_lr=high, **shape, **own), skip=last_epoch + 1)
        expected.append([step[number] for step in alone])

    steps = of_sweep(optimizer, schedule=("onecycle",), last_epoch=(last_epoch,), **momenta[0])

    for number in range(2):
        assert [step[number] for step in steps] == [pytest.approx(pair, rel=1e-9) for pair in expected[number]]


def test_one_value_is_for_the_group_with_the_largest_lr_and_the_others_keep_their_ratio() -> None:
    steps = of_sweep(optimizer_of(model()), 0.02, 0.2)

    assert LRS == (0.1, 0.01)
    assert steps == of_sweep(optimizer_of(model()), (0.02, 0.002), (0.2, 0.02))


def test_beta1_stays_or_is_cycled_as_momentum_is() -> None:
    def adam() -> Optimizer:
        groups = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)]
        return torch.optim.Adam(groups, lr=0.1, betas=(0.5, 0.999))

    kept = of_sweep(adam())
    optimizer = adam()
    scheduler = CyclicLR(optimizer, [0.02, 0.002], [0.2, 0.05], 4, 3, base_momentum=0.4, max_momentum=0.6)

    assert {pair[1] for step in kept for pair in step} == {0.5}
    assert of_sweep(adam(), base_momentum=(0.4,), max_momentum=(0.6,)) == taken(optimizer, scheduler.step)


@pytest.mark.parametrize("kind", ["sequential", "onecycle", "cyclic", "lambda"])
@pytest.mark.parametrize("recorder", ["predicted", "cpu"])
def test_the_users_own_scheduler_is_kept(kind: str, recorder: Any, tmp_path: Path) -> None:
    """A prediction traces a few of the steps, and goes on with the scheduler alone."""
    plan = plan_of("schedules", params={"kind": kind}, schedule=("own",), steps=12, recorder=recorder)
    (trial,) = run(plan, tmp_path)
    expected = of_torch(lambda optimizer: scheduler_of(kind, optimizer), count=12)

    assert (trial.status, trial.message) == ("ok", None)
    assert read_lrs(tmp_path, 1) == tuple(tuple(lr for lr, _ in step) for step in expected)


def test_a_scheduler_that_judges_by_the_loss_gets_it_and_is_known_where_there_is_one(tmp_path: Path) -> None:
    def trial(recorder: Any, folder: Path) -> Any:
        plan = plan_of("schedules", params={"kind": "plateau"}, schedule=("own",), steps=12, recorder=recorder)
        return run(plan, folder)[0]

    assert trial("cpu", tmp_path / "cpu").status == trial("predicted", tmp_path / "predicted").status == "ok"
    lrs = read_lrs(tmp_path / "cpu", 1)
    assert lrs[0] == LRS  # as far as it was trained
    assert len(lrs) > 1
    assert read_lrs(tmp_path / "predicted", 1) == ()


def test_a_scheduler_that_ends_before_the_trial_does_is_told_by_torchs_own_words(tmp_path: Path) -> None:
    plan = plan_of("schedules", params={"kind": "onecycle"}, schedule=("own",), steps=30, recorder="cpu")
    (trial,) = run(plan, tmp_path)

    assert len(read_lrs(tmp_path, 1)) == 13, "and that many are the last that it would set"
    assert trial.message is not None
    assert trial.message.startswith("the scheduler ends after 13 steps: Tried to step 13 times")


def test_without_a_scheduler_there_is_none_to_keep(tmp_path: Path) -> None:
    (trial,) = run(plan_of("schedules", schedule=("own",), steps=3), tmp_path)

    assert (trial.status, trial.message) == ("failed", "build() returns no scheduler to keep")


@pytest.mark.parametrize(("every", "num_known"), [(1, 20), (2, None)])
def test_a_step_that_moves_the_scheduler_itself_is_followed_as_far_as_it_is_regular(
    every: int, num_known: int | None, tmp_path: Path
) -> None:
    plan = plan_of("schedules", params={"every": every}, schedule=("own",), steps=20)
    plan = replace(plan, setup=replace(plan.setup, target=f"{plan.setup.target}:moves_itself"))
    (trial,) = run(plan, tmp_path)

    lrs = read_lrs(tmp_path, 1)
    assert trial.status == "ok"
    assert len(lrs) == num_known if num_known else 1 <= len(lrs) < 20


@pytest.mark.parametrize("schedule", ["cyclic", "onecycle", "constant"])
def test_lrs_that_are_tensors_are_those_that_are_numbers(schedule: Any, tmp_path: Path) -> None:
    stored = []
    for tensor in (False, True):
        folder = tmp_path / str(tensor)
        plan = plan_of("schedules", params={"tensor": tensor}, schedule=(schedule,), steps=12, base_lr=0.01, max_lr=0.1)
        (trial,) = run(plan, folder)
        assert (trial.status, trial.message) == ("ok", None)
        stored.append(read_lrs(folder, 1))

    assert len(stored[0]) == 12
    assert [value for row in stored[1] for value in row] == pytest.approx([value for row in stored[0] for value in row])


def test_a_list_of_another_length_is_told(tmp_path: Path) -> None:
    (trial,) = run(plan_of("schedules", steps=3, base_lr=((0.1,) * 3,), max_lr=1.0), tmp_path)

    assert trial.message == "base_lr has 3 values, and the optimizer 2 parameter groups"


def test_an_old_initial_lr_would_be_the_first_lr_of_torchs_own() -> None:
    """The reason why it is dropped: as reported in pytorch/pytorch#21965."""
    optimizer = optimizer_of(model())
    LinearLR(optimizer)
    scheduler = CyclicLR(optimizer, 0.02, 0.2, step_size_up=4, cycle_momentum=False)

    assert taken(optimizer, scheduler.step, 2)[0][0][0] == pytest.approx(0.1)
