"""The loss is NaN from the first step."""

from good import build as good


def build():
    return good() | {"loss": lambda model, batch: model(batch[0]).mean() * float("nan")}
