"""A user's file as the README shows it: a small regression that trains well between 1e-3 and 1."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def build(batch_size: int = 32, width: int = 16, optimizer: str = "sgd", seed: int = 0):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(512, 8, generator=generator)
    y = torch.sin(x).sum(1, keepdim=True)
    model = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 1))
    make = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimizer]
    shuffle = torch.Generator().manual_seed(seed)
    return {
        "model": model,
        "optimizer": make(model.parameters(), lr=0.1),
        "train_loader": DataLoader(TensorDataset(x, y), batch_size, shuffle=True, generator=shuffle),
        "loss": lambda model, batch: F.mse_loss(model(batch[0]), batch[1]),
    }
