"""Set-ups that people reported of LR finders, small and written anew, and how each of them ends: a table.

A row is a set-up, and what its range test must come to: whether something is suggested, at most with which confidence, and a
part of the reason or of the error. Where a file of larger ones is at hand (LR_REPORTS), they are run too.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.utils.data import DataLoader, TensorDataset

import lrtool
from lrtool.lr.curve.cautions import RANKS

Setup = dict[str, Any]
Ending = Literal["high", "medium", "low", "none", "refused"]


def clusters(count: int = 640, *, num_classes: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points around a centre for each class, in no order."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_classes, 16, generator=torch.Generator().manual_seed(9))
    y = torch.randint(num_classes, (count,), generator=generator)
    return centres[y] + 0.9 * torch.randn(count, 16, generator=generator), y


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def classifier(make: Callable[[Any], Optimizer] = Adam, **changes: Any) -> Setup:
    model = net()
    loader = DataLoader(TensorDataset(*clusters()), 16, shuffle=True)
    setup = {"model": model, "optimizer": make(model.parameters()), "train_loader": loader, "loss": cross_entropy}
    return setup | changes


def plain() -> Setup:
    return classifier()


def sorted_by_class() -> Setup:
    x, y = clusters()
    order = y.argsort(stable=True)
    return classifier(train_loader=DataLoader(TensorDataset(x[order], y[order]), 16, shuffle=False))


def sorted_by_generator() -> Setup:
    """An order that no sampler tells of."""
    x, y = clusters()
    order = y.argsort(stable=True)
    return classifier(train_loader=list(zip(x[order].split(16), y[order].split(16), strict=True)))


def fixed_order() -> Setup:
    """Not shuffled, but in no order either: harmless."""
    return classifier(train_loader=DataLoader(TensorDataset(*clusters()), 16, shuffle=False))


def few_samples() -> Setup:
    return classifier(AdamW, train_loader=DataLoader(TensorDataset(*clusters(40)), 16, shuffle=True))


def clipped() -> Setup:
    return classifier(lambda params: SGD(params, 0.1, momentum=0.9), clip_norm=0.05)


def clipped_in_step() -> Setup:
    def step(model: nn.Module, batch: Any, optimizer: Optimizer) -> Tensor:
        loss = cross_entropy(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()
        return loss.detach()

    return classifier(step=step)


def clipped_but_never() -> Setup:
    return classifier(clip_norm=1e6)


def bandit() -> Setup:
    """REINFORCE (Williams 1992): eight arms, the right one by context, without a baseline."""

    def loss(model: nn.Module, batch: Any) -> Tensor:
        policy = Categorical(logits=model(batch[0]))
        actions = policy.sample()
        reward = 1.0 + (actions == batch[1]).float()
        surrogate: Tensor = -(policy.log_prob(actions) * reward).mean()
        return surrogate

    return classifier(loss=loss)


def with_baseline() -> Setup:
    """The same with actions drawn elsewhere and the mean reward taken off: a loss around zero."""

    def loss(model: nn.Module, batch: Any) -> Tensor:
        logits = model(batch[0])
        actions = torch.multinomial(logits.detach().softmax(1), 1)[:, 0]
        reward = (actions == batch[1]).float()
        surrogate: Tensor = ((reward - reward.mean()) * F.cross_entropy(logits, actions, reduction="none")).mean()
        return surrogate

    return classifier(loss=loss)


def variational() -> Setup:
    """An autoencoder whose loss goes from far above zero to below it."""

    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(16, 8), nn.Linear(4, 16)
            self.log_scale = nn.Parameter(torch.full((16,), 1.0))

        def forward(self, x: Tensor) -> Tensor:
            mean, log_var = self.encode(x).chunk(2, 1)
            z = mean + torch.randn_like(mean) * (log_var / 2).exp()
            error = (x - self.decode(z)) / self.log_scale.exp()
            divergence = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
            total: Tensor = (0.5 * error**2 + self.log_scale).sum(1) + divergence
            return total.mean()

    model = Vae()
    return classifier(model=model, optimizer=Adam(model.parameters()), loss=lambda model, batch: model(0.2 * batch[0]))


def negative_loss() -> Setup:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        right: Tensor = model(batch[0]).softmax(1).gather(1, batch[1][:, None])
        return -right.mean()

    return classifier(loss=loss)


def adversaries(which: Literal["g", "d"]) -> Setup:
    """A generator and a discriminator, one of them ramped while the other trains at its own LR."""
    generator, judge = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 16)), nn.Sequential(nn.Linear(16, 1))
    ours, others = Adam(generator.parameters(), 2e-4), Adam(judge.parameters(), 2e-2)
    chosen = ours if which == "g" else others

    def step(model: nn.Module, batch: Any, optimizer: Optimizer) -> Tensor:
        made = generator(torch.randn(len(batch[0]), 4))
        real, fake = judge(batch[0]), judge(made.detach())
        told = F.softplus(-real).mean() + F.softplus(fake).mean()
        others.zero_grad()
        told.backward()
        others.step()
        fooled = F.softplus(-judge(made)).mean()
        ours.zero_grad()
        fooled.backward()
        ours.step()
        return (fooled if which == "g" else told).detach()

    return classifier(model=nn.ModuleList([generator, judge]), optimizer=chosen, step=step)


def quasi_newton() -> Setup:
    def step(model: nn.Module, batch: Any, optimizer: Optimizer) -> Any:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = cross_entropy(model, batch)
            loss.backward()
            return loss

        return optimizer.step(closure)  # type: ignore[arg-type]

    return classifier(lambda params: torch.optim.LBFGS(params, lr=1.0, max_iter=4), step=step)


def resilient() -> Setup:
    return classifier(torch.optim.Rprop)


def unlimited_setting() -> Setup:
    """As Prodigy has it: a setting that is infinite, where JSON has no such number."""
    setup = classifier()
    setup["optimizer"].param_groups[0]["growth_rate"] = float("inf")
    return setup


def relative_step() -> Setup:
    setup = classifier()
    setup["optimizer"].param_groups[0]["lr"] = None
    return setup


def one_shot() -> Setup:
    setup = classifier()
    return setup | {"train_loader": itertools.islice(itertools.cycle(setup["train_loader"]), 150)}


TABLE: dict[str, tuple[Callable[[], Setup], bool | None, Ending, str]] = {
    "a plain classifier": (plain, True, "high", "the loss falls"),
    "sorted by class": (sorted_by_class, None, "low", "the loader does not shuffle"),
    "sorted, without a sampler": (sorted_by_generator, None, "low", "such as that of their classes"),
    "not shuffled, but in no order": (fixed_order, True, "high", "the loss falls"),
    "40 samples": (few_samples, None, "low", "40 samples was seen 1"),
    "clipped by the workload": (clipped, None, "medium", "gradients are clipped"),
    "clipped in the step": (clipped_in_step, None, "medium", "gradients are clipped"),
    "clipped above any gradient": (clipped_but_never, True, "high", "the loss falls"),
    "policy gradient": (bandit, None, "low", "surrogate"),
    "policy gradient with a baseline": (with_baseline, None, "low", ""),
    "variational autoencoder": (variational, True, "high", "the loss falls"),
    "a negative loss": (negative_loss, True, "high", "the loss falls"),
    "the generator of two adversaries": (lambda: adversaries("g"), None, "low", ""),
    "LBFGS": (quasi_newton, None, "low", "LBFGS"),
    "Rprop": (resilient, False, "refused", "first step only"),
    "an infinite setting": (unlimited_setting, True, "high", "the loss falls"),
    "no LR at all": (relative_step, False, "refused", "lr=None"),
    "a generator shorter than the ramp": (one_shot, False, "none", "train_loader ended after 150 steps"),
}


@pytest.mark.parametrize("name", TABLE)
def test_it_ends_as_it_should(name: str) -> None:
    build, suggests, most, told = TABLE[name]
    if most == "refused":
        with pytest.raises(lrtool.WorkloadError, match=told):
            lrtool.range_test(build, device="cpu", seed=1)
        return
    found = lrtool.range_test(build, device="cpu", seed=1)
    assert RANKS.index(found.confidence) <= RANKS.index(most)
    assert told in found.reason
    if suggests is not None:
        assert (found.max_lr is not None) is suggests
    assert (found.max_lr is None) is (found.confidence == "none")
    if found.confidence != "high":
        assert found.reason


def test_what_the_table_calls_high_is_told_so() -> None:
    highest = {lrtool.range_test(build, device="cpu").confidence for build, *_ in (TABLE["a plain classifier"],)}

    assert highest == {"high"}


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_batches_are_not_called_ordered(seed: int) -> None:
    assert "alike" not in lrtool.range_test(plain, device="cpu", seed=seed).reason


def reported_files() -> Iterator[Path]:
    folder = os.environ.get("LR_REPORTS")
    yield from sorted(Path(folder).glob("[!cs]*.py")) if folder else ()


@pytest.mark.parametrize("path", [*reported_files()] or [None])
def test_reported_files_end_with_a_sentence(path: Path | None) -> None:
    if path is None:
        pytest.skip("LR_REPORTS names no folder of reported set-ups")
    with suppress(lrtool.WorkloadError):
        found = lrtool.range_test(str(path), device="cpu")
        assert found.reason
        assert found.confidence in RANKS
