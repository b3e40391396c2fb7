"""Prints in every way there is, to stdout."""

import atexit
import os
import subprocess
import sys

from good import build as good

print("at import")
atexit.register(print, "at exit")


def build():
    print("in build")
    os.write(1, b"past Python\n")
    subprocess.run(["echo", "from a child"], check=True)
    setup = good()
    loss = setup["loss"]

    def noisy(model, batch):
        print("in loss", file=sys.__stdout__)
        return loss(model, batch)

    return setup | {"loss": noisy}
