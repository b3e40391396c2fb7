"""What to train, for lrtool: `build` returns model, optimizer, batches and loss. It runs as it is; put your own in."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def build(batch_size: int = 64):  # called afresh for every run; its arguments are set by --param batch_size=128
    points = torch.randn(4096, 2, generator=torch.Generator().manual_seed(0))
    labels = (points.norm(dim=1).sub(1.2).abs() < 0.4).long()  # is a point on a ring, or off it?
    model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "train_loader": DataLoader(TensorDataset(points, labels), batch_size, shuffle=True),
        # A scalar tensor. More keys (precision, accumulate, clip_norm, step ...) are listed in lrtool's README.
        "loss": lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
    }
