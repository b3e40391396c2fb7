"""Periods are found, not guessed, and a trace that is repeated is the trace that tracing every step gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrtool.memory.replay.replay import replay
from lrtool.tracing.tracer.hooks import has_even_batches
from lrtool.tracing.tracer.steady_state import Period, find_period
from lrtool.tracing.tracer.tracer import TraceSettings, trace
from lrtool.workload.target import from_callable, load
from tests.tracing.tracer import traced_models as models


def period_of(text: str, *, epoch_steps: int | None = None, grows: bool = False) -> Period | None:
    """The period of steps written as letters."""
    return find_period([letter.encode() for letter in text], epoch_steps=epoch_steps, grows=grows)


@pytest.mark.parametrize(
    ("steps", "first_step", "num_steps"),
    [("abbb", 2, 1), ("xababab", 2, 2), ("abcdabcdabcd", 1, 4), ("xyzzz", 3, 1)],
)
def test_a_period_is_believed_after_two_confirmations(steps: str, first_step: int, num_steps: int) -> None:
    assert period_of(steps) == Period(first_step=first_step, num_steps=num_steps)
    assert period_of(steps[:-1]) is None


def test_a_long_period_is_believed_after_one_confirmation() -> None:
    assert period_of("aaaaaaaaaz" * 2, epoch_steps=10) == Period(first_step=1, num_steps=10)


def test_equal_steps_say_nothing_before_an_epoch_has_ended() -> None:
    assert period_of("xbbbbb", epoch_steps=8) is None
    assert period_of("xbbbbbbbbb", epoch_steps=8) == Period(first_step=2, num_steps=1)


def test_growth_is_watched_longer() -> None:
    assert period_of("a" * 23, grows=True) is None
    assert period_of("a" * 24, grows=True) == Period(first_step=1, num_steps=1)


def last_batch_smaller(accumulate: int = 1) -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(8, 600), nn.ReLU(), nn.Linear(600, 1))
    return {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters()),
        "train_loader": [torch.zeros(rows, 8) for rows in (64, 64, 64, 64, 24)],
        "loss": lambda model, batch: model(batch).mean(),
        "accumulate": accumulate,
    }


def keeps_the_previous_loss() -> dict[str, Any]:
    """Each step frees what the one before kept only after it has made its own."""
    kept = {}

    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Any:
        out = model(batch[0])
        out.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        kept["out"] = out
        return out.mean().detach()

    return models.mlp(batch=16, width=300) | {"step": step}


def keeps_the_last_three() -> dict[str, Any]:
    """A window over the last steps is no leak."""
    window: list[Any] = []

    def step(model: nn.Module, batch: Any) -> Any:
        window.append(model(batch[0]).detach())
        del window[:-3]
        return window[-1].mean()

    return models.mlp(batch=16, width=300) | {"step": step}


@pytest.mark.parametrize(
    ("build", "params", "num_steps"),
    [
        *((models.gpt, {"layers": 1}, num_steps) for num_steps in (15, 16)),
        *((last_batch_smaller, {}, num_steps) for num_steps in (25, 26, 27, 28)),
        *((last_batch_smaller, {"accumulate": 2}, num_steps) for num_steps in (25, 26, 27, 28)),
        *((keeps_the_previous_loss, {}, num_steps) for num_steps in (15, 16, 17, 18)),
        *((keeps_the_last_three, {}, num_steps) for num_steps in (15, 16, 17, 18)),
    ],
)
def test_repeating_is_as_good_as_tracing_every_step(
    build: Callable[..., dict[str, Any]], params: dict[str, Any], num_steps: int
) -> None:
    factory = from_callable(build, params=params)

    short = trace(factory, TraceSettings(num_steps=num_steps))
    whole = trace(factory, TraceSettings(num_steps=num_steps, until_steady=False))

    assert short.num_traced_steps < whole.num_traced_steps == num_steps
    assert len(short.trace) == len(whole.trace)
    found, expected = replay(short.trace), replay(whole.trace)
    assert found.steps == expected.steps
    assert found.peaks == expected.peaks
    assert short.leaks == whole.leaks == ()


def test_seven_thousand_steps_are_mostly_proven(workload_file: Callable[[str], Path]) -> None:
    found = replay(trace(load(str(workload_file("good"))), TraceSettings(num_steps=7000)).trace)

    assert len(found.steps) == 7000
    assert found.num_played < found.num_requests / 100


@pytest.mark.parametrize(("rows", "drop_last", "is_even"), [(64, False, True), (65, False, False), (65, True, True)])
def test_a_loader_tells_whether_its_last_batch_is_smaller(rows: int, drop_last: bool, is_even: bool) -> None:
    loader = DataLoader(TensorDataset(torch.zeros(rows)), batch_size=8, drop_last=drop_last)

    assert has_even_batches(loader) is is_even
    assert not has_even_batches([torch.zeros(3)])
