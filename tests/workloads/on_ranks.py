"""One rank of several does something bad at one step: raises, runs out of memory, hangs, or dies."""

import os
import signal
import time

import torch
from good import build as good

TROUBLE = {
    "oom": lambda: torch.empty(2**60),
    "raise": lambda: {}["label"],
    "hang": lambda: time.sleep(3600),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def build(trouble: str = "oom", at_rank: int = 1, at_step: int = 12):
    setup, steps, rank = good(), 0, int(os.environ.get("RANK", 0))
    if at_step == 0 and rank == at_rank:
        TROUBLE[trouble]()

    def loss(model, batch):
        nonlocal steps
        steps += 1
        if steps == at_step and rank == at_rank:
            TROUBLE[trouble]()
        return setup["loss"](model, batch)

    return setup | {"loss": loss}
