"""Builds once there is a file `go` in the working directory."""

import time
from pathlib import Path

from good import build as good


def build():
    while not Path("go").exists():
        time.sleep(0.02)
    return good()
