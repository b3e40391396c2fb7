"""Two groups with a bowl each, of curvature 2/3 and 200: the second bears a three-hundredth of the first one's LR."""

import itertools

import torch
from torch import nn


class Bowls(nn.Module):
    def __init__(self):
        super().__init__()
        self.flat, self.steep = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(1) / 10)

    def forward(self, batch):
        return 1 + self.flat.square().mean() + 100 * self.steep.square().mean()


def build(idle: bool = False):
    model = Bowls()
    groups = [{"params": [model.flat], "weight_decay": 0.0}, {"params": [model.steep]}]
    if idle:
        model.unused = nn.Parameter(torch.ones(2))
        groups.append({"params": [model.unused], "lr": 0.001})
    return {
        "model": model,
        "optimizer": torch.optim.SGD(groups, lr=0.01, momentum=0.9, weight_decay=1e-9),
        "train_loader": itertools.repeat(torch.zeros(1)),
        "loss": lambda model, batch: model(batch),
    }
