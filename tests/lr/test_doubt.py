"""Only what was seen is evidence: what a curve leaves open, a few steps from the start decide, or nothing is suggested."""

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrtool
from lrtool.lr.curve.suggest import suggest
from lrtool.lr.curve.support import Ended
from lrtool.results.range_test import Stopped
from tests.lr.curve.test_suggest import curve
from tests.workloads.good import build as good


class Bias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(1))


def least_squares() -> dict[str, Any]:
    """One bias, three samples, 16 off: the curvature is 6, so that SGD is stable below 1/3, and the loss ends at 0 exactly."""
    model = Bias()
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), 0.01),
        "train_loader": itertools.repeat(torch.full((3,), -16.0)),
        "loss": lambda model, batch: ((model.b - batch) ** 2).sum(),
    }


def test_without_an_upturn_the_end_of_the_ramp_is_no_landmark() -> None:
    found = lrtool.range_test(least_squares, device="cpu")

    assert found.max_lr is not None
    assert found.suggested_lr is not None
    assert found.max_lr < 1 / 3
    assert found.suggested_lr > 1e-3
    assert found.confidence == "low"
    assert "20 steps from the start" in found.reason
    assert found.landmarks is not None
    assert found.landmarks.upturn is None


def test_the_steps_that_settle_a_doubt_are_counted() -> None:
    found = lrtool.range_test(least_squares, device="cpu")

    assert found.doubt_runs
    assert found.num_steps == len(found.curve.lr) + sum(len(run.loss) for run in found.doubt_runs)


def test_twenty_steps_at_what_is_suggested_end_no_higher_than_they_began() -> None:
    """A curve that falls to a fixed end says nothing of what is beyond it; stability is limited to 2 / 600."""

    def steep() -> dict[str, Any]:
        return {**least_squares(), "loss": lambda model, batch: 100 * ((model.b - batch) ** 2).sum()}

    found = lrtool.range_test(steep, start_lr=1e-6, end_lr=10.0, num_steps=60, device="cpu")

    assert found.max_lr is None or found.max_lr < 2 / 600


def one_shot(count: int) -> dict[str, Any]:
    def batches() -> Iterator[Any]:
        yield from itertools.islice(itertools.cycle(setup["train_loader"]), count)

    setup = good()
    return {**setup, "train_loader": batches()}


@pytest.mark.parametrize("count", [40, 200, 260])
def test_a_loader_that_ended_before_the_curve_did_supports_nothing(count: int) -> None:
    for source in (lambda: one_shot(count), one_shot(count)):
        found = lrtool.range_test(source, device="cpu")

        assert found.stopped == "loader-ended"
        assert found.max_lr is None
        assert found.advice is not None
        assert "DataLoader" in found.advice
        assert f"--num-steps {count}" in found.advice
        assert "--end-lr" not in found.advice


def noisy(times: float, *, seed: int = 0) -> tuple[list[float], list[float]]:
    """A curve that falls by so many times its noise."""
    return curve(sigma=1 / times, seed=seed, count=360)


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_of_twice_the_noise_supports_nothing(seed: int) -> None:
    found = suggest([noisy(1.7, seed=seed)])

    assert found.confidence == "none"
    assert found.groups[0].max_lr is None
    assert "times its noise" in found.reason
    assert found.advice is not None
    assert "--repeats" in found.advice


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_of_six_times_the_noise_supports_something(seed: int) -> None:
    assert suggest([noisy(6.0, seed=seed)]).groups[0].max_lr is not None


def test_confirming_runs_may_start_from_a_noisy_curve() -> None:
    assert suggest([noisy(1.7)], ended=Ended(is_confirmed=True)).rates is not None


def test_the_advice_follows_from_how_the_ramp_ended() -> None:
    draw = random.Random(0)
    flat = [1e-7 * 10 ** (i / 45) for i in range(100)], [2.3 + draw.gauss(0, 0.1) for _ in range(100)]
    kinds: list[Stopped] = ["end", "diverged", "loader-ended", "interrupted", "failed"]
    advice = {kind: suggest([flat], ended=Ended(stopped=kind)).advice or "" for kind in kinds}

    assert "--end-lr" in advice["end"]
    assert all("--end-lr" not in text for kind, text in advice.items() if kind != "end")
    assert len(set(advice.values())) == len(advice)


def driven(change: Any) -> dict[str, Any]:
    """A training whose loss also changes with the steps it has taken, whatever the LR."""
    setup = good()
    count = itertools.count()

    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = nn.functional.mse_loss(model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        moved: Tensor = loss.detach() + change(next(count))
        return moved

    return {**setup, "step": step}


def test_a_rise_at_an_lr_too_small_to_cause_it_is_something_elses() -> None:
    found = lrtool.range_test(lambda: driven(lambda step: 50.0 if step > 60 else 0.0), device="cpu")

    assert found.max_lr is None
    assert "something else moves this loss" in found.reason
    assert found.advice is not None
    assert "--start-lr" not in found.advice


def test_a_fall_at_an_lr_too_small_to_cause_it_is_something_elses() -> None:
    found = lrtool.range_test(lambda: driven(lambda step: 40 * math.exp(-step / 10)), device="cpu")

    assert found.max_lr is None
    assert "something else moves this loss" in found.reason


class Own(torch.optim.Adam):
    """An optimizer that steps with an LR which its groups never show."""

    def step(self, closure: Any = None) -> Any:
        asked = [group["lr"] for group in self.param_groups]
        self.param_groups = [{**group, "lr": 1e-2} for group in self.param_groups]
        result = super().step(closure)
        for group, lr in zip(self.param_groups, asked, strict=True):
            group["lr"] = lr
        return result


@pytest.mark.parametrize("confirm", ["off", "cyclic"])
def test_equal_losses_at_different_lrs_prove_that_the_lr_is_not_in_force(confirm: str) -> None:
    def build() -> dict[str, Any]:
        setup = good()
        return {**setup, "optimizer": Own(setup["model"].parameters(), lr=0.1)}

    found = lrtool.range_test(build, confirm=confirm, device="cpu")

    assert found.max_lr is None
    assert "not in force" in found.reason or "something else" in found.reason


def test_steps_count_on_where_a_ramp_is_extended() -> None:
    """The ramp goes on from 10 to 1000, and the loss becomes NaN at its 380th step."""
    setup = least_squares()
    count = itertools.count(1)

    def loss(model: Bias, batch: Tensor) -> Tensor:
        fall: Tensor = ((model.b - batch) ** 2).sum()
        return fall * float("nan") if next(count) == 380 else fall

    found = lrtool.range_test(lambda: {**setup, "loss": loss}, device="cpu")

    assert "at step 380" in found.stop_reason


def test_a_loss_dict_names_its_keys() -> None:
    with pytest.raises(lrtool.WorkloadError, match="a dict with the keys 'box', 'class'"):
        lrtool.range_test(lambda: {**good(), "loss": lambda model, batch: {"box": 1, "class": 2}})


def test_an_exception_of_a_healthy_run_is_no_divergence() -> None:
    """Code that cannot run a second time says nothing of the learning rate."""
    builds: list[None] = []

    def once() -> dict[str, Any]:
        builds.append(None)
        setup = good()
        seen: list[None] = []
        compute = setup["loss"]

        def loss(model: nn.Module, batch: Any) -> Tensor:
            seen.append(None)
            if len(builds) > 1 and len(seen) == 3:
                raise OSError("closed already")
            result: Tensor = compute(model, batch)
            return result

        return {**setup, "loss": loss}

    found = lrtool.range_test(once, num_steps=30, device="cpu")

    assert len(builds) > 1
    assert found.max_lr is not None
    assert "raised OSError" in found.reason
    assert "diverge at" not in found.reason
