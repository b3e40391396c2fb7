"""A log-likelihood: the loss starts below zero and falls."""

from good import build as good


def build():
    setup = good()
    loss = setup["loss"]
    return setup | {"loss": lambda model, batch: loss(model, batch) - 1000}
