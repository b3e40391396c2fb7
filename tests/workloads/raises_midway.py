"""Raises at the thirtieth step."""

from good import build as good


def build():
    setup = good()
    loss, count = setup["loss"], 0

    def fails(model, batch):
        nonlocal count
        count += 1
        if count == 30:
            raise ValueError("the thirtieth batch is bad")
        return loss(model, batch)

    return setup | {"loss": fails}
