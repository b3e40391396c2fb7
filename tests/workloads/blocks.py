"""Four equal blocks: 1,001,000 parameters each, whose memory on one rank of many can be worked out by hand."""

import torch
from torch import nn


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(1000, 1000) for _ in range(4))

    def forward(self, x):
        for block in self.blocks:
            x = torch.tanh(block(x))
        return x


def build(batch_size: int = 64):
    model = Stack()
    return {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=0.1),
        "train_loader": [torch.zeros(batch_size, 1000)] * 4,
        "loss": lambda model, batch: model(batch).square().mean(),
    }
