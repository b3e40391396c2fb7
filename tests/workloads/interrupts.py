"""Presses Ctrl-C at the thirtieth step."""

import os
import signal

from good import build as good


def build():
    setup = good()
    loss, count = setup["loss"], 0

    def interrupted(model, batch):
        nonlocal count
        count += 1
        if count == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(model, batch)

    return setup | {"loss": interrupted}
