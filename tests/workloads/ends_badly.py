"""A training that ends in the way it is told to, at its third step; "well" is how it ends otherwise."""

import os
import shutil
import signal
import sys
import threading
import time
from itertools import count
from pathlib import Path

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


def fork():
    if os.fork() == 0:
        time.sleep(600)


def close_output():
    for descriptor in (1, 2):
        os.close(descriptor)


def delete_run():
    shutil.rmtree(Path(sys.argv[-1]))


def print_much():
    for _ in range(2000):
        print("x" * 50_000)


def start_thread():
    threading.Thread(target=hang).start()


def spoil_process():
    os.chdir("/")
    os.environ["SPOILT"] = "1"
    sys.path.insert(0, "/spoilt")
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)


ENDINGS = {
    "well": lambda: None,
    "crash": crash,
    "hang": hang,
    "exhaust": exhaust,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(9),
    "fork": fork,
    "close-output": close_output,
    "change-directory": lambda: os.chdir("/"),
    "delete-run": delete_run,
    "print-much": print_much,
    "seed": lambda: torch.manual_seed(torch.randint(9, ()).item()),
    "start-thread": start_thread,
    "spoil-process": spoil_process,
    "sys-exit": lambda: exec("raise SystemExit('enough')"),
}
