"""Eight equal layers under Adam, or under an optimizer that has one implementation only."""

import torch
from torch import nn

WIDTH = 512
NUM_LAYERS = 8


def build(optimizer: str = "Adam"):
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(NUM_LAYERS)))
    return {
        "model": model,
        "optimizer": getattr(torch.optim, optimizer)(model.parameters(), lr=1e-3),
        "train_loader": [torch.zeros(1, WIDTH)],
        "loss": lambda model, batch: model(batch).sum(),
    }
