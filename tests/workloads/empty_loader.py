"""No batches."""

from good import build as good


def build():
    return good() | {"train_loader": []}
