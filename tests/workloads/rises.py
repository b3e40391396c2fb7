"""Learns backwards, so that the loss can only rise."""

import torch
from good import build as good


def build():
    setup = good()
    setup["optimizer"] = torch.optim.SGD(setup["model"].parameters(), lr=0.1, maximize=True)
    return setup
