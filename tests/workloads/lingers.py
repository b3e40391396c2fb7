"""Good, but for processes that take long to end: something that was imported waits at exit."""

import atexit
import time

from tests.workloads.good import build as good


def build(seconds: float = 60.0):
    atexit.register(time.sleep, seconds)
    return good()
