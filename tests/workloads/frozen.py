"""Nothing to train."""

from good import build as good


def build():
    setup = good()
    setup["model"].requires_grad_(False)
    return setup
