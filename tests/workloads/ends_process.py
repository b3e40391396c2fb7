"""Ends its process in a way that nothing in it can answer, at its tenth step."""

import ctypes
import os
import signal
import time
from itertools import count

from good import build as good

ENDINGS = {
    "exit": lambda: os._exit(0),
    "exit-7": lambda: os._exit(7),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "wait": lambda: time.sleep(60),
    "fork": lambda: os.fork() or os._exit(0),
    "well": lambda: None,
}


def build(how: str = "well", at: int = 10):
    setup = good()
    compute, steps = setup["loss"], count(1)
    if at == 0:
        ENDINGS[how]()

    def loss(model, batch):
        step = next(steps)
        if step == at:
            print("there", flush=True)
            ENDINGS[how]()
        return compute(model, batch)

    return setup | {"loss": loss}
