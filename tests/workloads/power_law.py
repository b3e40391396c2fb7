"""A noiseless bowl whose gradient is divided by the batch size, so that the LR range is proportional to it."""

import itertools

import torch


def build(batch_size: int = 16):
    weight = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(weight.weight)
    return {
        "model": weight,
        "optimizer": torch.optim.SGD(weight.parameters(), lr=0.1),
        "train_loader": itertools.repeat(torch.ones(batch_size, 1)),
        "loss": lambda model, batch: model(batch).square().mean() / len(batch),
    }
