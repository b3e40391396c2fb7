"""Workers that are spawned import this file again, so it must have been imported under its own name."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Squares(Dataset):
    def __init__(self, fails_at: int):
        self.fails_at = fails_at

    def __len__(self):
        return 64

    def __getitem__(self, index):
        if index == self.fails_at:
            raise ValueError(f"sample {index} is broken")
        x = torch.full((1,), index / 64)
        return x, x**2


def build(fails_at: int = -1, context: str = "spawn", num_workers: int = 1):
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "train_loader": DataLoader(Squares(fails_at), 8, num_workers=num_workers, multiprocessing_context=context),
        "loss": lambda model, batch: F.mse_loss(model(batch[0]), batch[1]),
    }
