"""What the finders themselves suggest on scripted losses: the truth that lrtool's versions of their rules are held to."""

import json
import math
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.finders.cases import Setup
from benchmarks.finders.peers import PEERS, Ramp, versions

START_LR, END_LR = 1e-7, 10.0


class Scripted(nn.Module):
    """A model whose output is the next of the given losses, whatever comes in."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.losses = iter(losses)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.weight * 0 + next(self.losses)


def record(file: Path) -> None:
    """Write losses and picks of every scripted curve to `file`."""
    curves = {name: {"losses": losses, "picks": _picks(losses)} for name, losses in scripted_curves().items()}
    document = {"versions": versions(), "curves": curves}
    file.write_text(json.dumps(document).replace("NaN", "null").replace('}}, "', '}},\n"') + "\n")


def scripted_curves() -> dict[str, list[float]]:
    """Curves of every kind: with and without noise, below zero, ending in NaN, without a minimum, and too short."""
    noisy = _valley(100, noise=0.1, seed=6)
    return {
        "smooth": _valley(100, noise=0.0, seed=1),
        "noisy": _valley(100, noise=0.3, seed=2),
        "long": _valley(250, noise=0.2, seed=3),
        "negative": _valley(100, noise=0.1, seed=4, shift=-4.0),
        "crosses zero": _valley(100, noise=0.05, seed=5, shift=-1.4),
        "ends not finite": [*noisy[:80], *[math.nan] * 20],
        "rises": [round(1 + i / 50, 4) for i in range(100)],
        "falls": [round(3 - i / 50, 4) for i in range(100)],
        "flat": [2.3] * 100,
        "short": _valley(20, noise=0.1, seed=7),
    }


def _valley(num_steps: int, *, noise: float, seed: int, shift: float = 0.0) -> list[float]:
    """A descent around LR 0.01, and an explosion after LR 2."""
    generator = random.Random(seed)
    losses = []
    for i in range(num_steps):
        exponent = i / (num_steps - 1) * math.log10(END_LR / START_LR) + math.log10(START_LR)
        clean = 2.3 - 1.6 / (1 + math.exp(-3 * (exponent + 2))) + 0.05 * math.exp(min(6 * (exponent - 0.3), 12))
        losses.append(round(clean + noise * (generator.random() - generator.random()) + shift, 4))
    return losses


def _picks(losses: list[float]) -> dict[str, Any]:
    picks = {}
    for name, find in PEERS.items():
        num_steps = len(losses) - 1 if name == "Ignite" else len(losses)  # Ignite takes one step more than asked for
        ramp = Ramp(start_lr=START_LR, end_lr=END_LR, num_steps=num_steps)
        picks[name] = find(_setup(losses), ramp).picks
    return picks


def _setup(losses: list[float]) -> Setup:
    rows = TensorDataset(torch.zeros(len(losses), 1), torch.zeros(len(losses), 1))
    loader: Any = DataLoader(rows, batch_size=1)
    return Setup(
        model=Scripted(losses), make_optimizer=lambda parameters, lr=1e-3: torch.optim.SGD(parameters, lr=lr),
        train_loader=loader, val_loader=loader, criterion=lambda output, labels: output.sum(),
    )  # fmt: skip
