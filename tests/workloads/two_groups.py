"""A body and a head whose LR is ten times the body's."""

import torch
from good import build as good


def build():
    setup = good()
    body, _, head = setup["model"]
    groups = [{"params": body.parameters(), "lr": 0.01}, {"params": head.parameters(), "lr": 0.1}]
    return setup | {"optimizer": torch.optim.SGD(groups, lr=0.1, momentum=0.9)}
