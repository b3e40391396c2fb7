"""Any LR of interest blows up: the loss is steep and the data large."""

from good import build as good


def build():
    setup = good()
    loss = setup["loss"]
    return setup | {"loss": lambda model, batch: loss(model, [batch[0], 1e3 * batch[1]])}
