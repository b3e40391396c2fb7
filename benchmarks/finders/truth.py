"""What a learning rate is worth: every case trained for its whole budget on a grid of LRs, and the regret that follows."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.finders.cases import Case, Setup

BASE_OVER_MAX = 0.1
NUM_CYCLES = 2
Schedule = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Validation loss after training at each LR: `losses[schedule][i]` are those of the seeds at `lrs[i]`, inf if diverged."""

    lrs: tuple[float, ...]
    initial_loss: float
    losses: dict[str, list[list[float]]]

    def regret(self, schedule: str, lr: float | None) -> float:
        """The part of the reachable loss reduction that is lost at `lr`, 0 to 1: interpolated in log LR, 1 for None."""
        if lr is None or not math.isfinite(lr) or lr <= 0:
            return 1.0
        means = self._means(schedule)
        if lr <= self.lrs[0]:  # nothing is learnt at LR 0
            return 1 - (1 - means[0]) * lr / self.lrs[0]
        position = [i for i in range(1, len(self.lrs)) if lr <= self.lrs[i]]
        if not position:
            return means[-1]
        left, right = self.lrs[position[0] - 1], self.lrs[position[0]]
        part = math.log(lr / left) / math.log(right / left)
        return means[position[0] - 1] * (1 - part) + means[position[0]] * part

    def best_lr(self, schedule: str) -> float:
        """The LR of the grid with the least regret."""
        means = self._means(schedule)
        return self.lrs[means.index(min(means))]

    def _means(self, schedule: str) -> list[float]:
        rows = self.losses[schedule]
        best = min(sum(row) / len(row) for row in rows)
        span = self.initial_loss - best
        return [sum(min(1.0, max(0.0, (loss - best) / span)) for loss in row) / len(row) for row in rows]


def constant(part: float) -> float:
    """A constant LR."""
    return 1.0


def triangles(part: float) -> float:
    """CyclicLR's triangular mode, NUM_CYCLES of them, from a tenth of max_lr to max_lr and back."""
    phase = abs((part * NUM_CYCLES) % 1.0 * 2 - 1)
    return BASE_OVER_MAX + (1 - BASE_OVER_MAX) * (1 - phase)


SCHEDULES: dict[str, Schedule] = {"constant": constant, "cyclic": triangles}


def measure_truth(case: Case, *, lrs: Sequence[float], num_seeds: int, num_steps: int) -> Truth:
    """Train `case` at every LR under every schedule from `num_seeds` seeds."""
    initial = [_validation_loss(case.setup(seed)) for seed in range(num_seeds)]
    losses = {
        name: [[_train(case.setup(seed), schedule, lr, num_steps) for seed in range(num_seeds)] for lr in lrs]
        for name, schedule in SCHEDULES.items()
    }
    return Truth(lrs=tuple(lrs), initial_loss=sum(initial) / num_seeds, losses=losses)


def _train(setup: Setup, schedule: Schedule, lr: float, num_steps: int) -> float:
    """The validation loss at the end of the budget; inf where training diverged."""
    optimizer = setup.make_optimizer(setup.model.parameters())
    setup.model.train()
    for index, (inputs, labels) in enumerate(_endless(setup.train_loader)):
        if index == num_steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(index / num_steps)
        optimizer.zero_grad(set_to_none=True)
        loss = setup.criterion(setup.model(inputs), labels)
        if not math.isfinite(loss.item()):
            return math.inf
        loss.backward()
        optimizer.step()
    return _validation_loss(setup)


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _validation_loss(setup: Setup) -> float:
    model: nn.Module = setup.model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for inputs, labels in setup.val_loader:
            total += setup.criterion(model(inputs), labels).item() * len(inputs)
            count += len(inputs)
    return total / count if math.isfinite(total) else math.inf
