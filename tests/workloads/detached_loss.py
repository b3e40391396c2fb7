"""The loss has no gradient."""

from good import build as good


def build():
    return good() | {"loss": lambda model, batch: (model(batch[0]).detach() - batch[1]).pow(2).mean()}
