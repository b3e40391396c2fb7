"""`optimiser` is not the key."""

from good import build as good


def build():
    setup = good()
    setup["optimiser"] = setup.pop("optimizer")
    return setup
