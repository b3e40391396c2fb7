"""The same training in one process and on several ranks: `batch_size` is that of all ranks together."""

import os

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def build(batch_size: int = 32, shuffled: bool = True, samples: int = 512):
    x = torch.randn(samples, 8)
    y = torch.sin(x).sum(1, keepdim=True)
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 1))
    own_batch_size = batch_size // int(os.environ.get("WORLD_SIZE", 1))
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "train_loader": DataLoader(TensorDataset(x, y), own_batch_size, shuffle=shuffled),
        "loss": lambda model, batch: F.mse_loss(model(batch[0]), batch[1]),
    }
