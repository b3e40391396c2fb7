"""Raises what is no Exception, as it is imported, built, or at a step; or meddles with the process's descriptors."""

import asyncio
import os

from tests.workloads.good import build as good


class PanicException(BaseException):
    """As Rust's extensions raise it."""


KINDS = {
    "generator": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "panic": PanicException,
    "base": BaseException,
}


def build(kind: str = "panic", where: str = "step"):
    setup = good()
    if where == "build":
        raise KINDS[kind]("on purpose")
    compute, seen = setup["loss"], []

    def loss(model, batch):
        seen.append(None)
        if where == "close" and len(seen) == 3:
            for descriptor in (1, 2):
                os.close(descriptor)
        if where == "close all" and len(seen) == 3:
            os.closerange(1, 3)
            os.closerange(3, 256)
        if where == "replace" and len(seen) == 3:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
        if where == "step" and len(seen) == 15:
            raise KINDS[kind]("on purpose")
        return compute(model, batch)

    setup["loss"] = loss
    return setup
