"""A training that ends in the way it is told to, at its third step; "well" is how it ends otherwise."""

import os
import signal
import time
from itertools import count

import torch
from good import build as good


def build(how: str = "well", batch_size: int = 32):
    setup = good(batch_size=batch_size)
    compute, steps = setup["loss"], count(1)

    def loss(model, batch):
        if next(steps) == 3:
            ENDINGS[how]()
        return compute(model, batch)

    return setup | {"loss": loss}


def crash():
    raise ValueError("the data went bad")


def hang():
    time.sleep(600)


def exhaust():
    torch.empty(2**60)


ENDINGS = {
    "well": lambda: None,
    "crash": crash,
    "hang": hang,
    "exhaust": exhaust,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(9),
    "sys-exit": lambda: exec("raise SystemExit('enough')"),
}
