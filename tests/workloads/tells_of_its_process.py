"""Leaves, for each process that builds it, a file that tells what that process found when it came to the user's code."""

import faulthandler
import gc
import json
import os
import random
import resource
import signal
import socket
import sys
import threading
import uuid
import warnings
from pathlib import Path

import numpy as np
import torch

from good import build as good


def _descriptors():
    """Of each open file its path, or what it is."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # the one that lists them
            continue
        found.append(target.partition(":")[0] if ":[" in target else target.replace(sys.argv[1], "TRIAL"))
    return sorted(found)


def _memory():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "peak_bytes": int(status["VmHWM"].split()[0]) * 1024,
        "bytes": int(status["VmRSS"].split()[0]) * 1024,
        "rusage_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


main = sys.modules["__main__"]
PROCESS = {
    "argv": [part.replace(sys.argv[1], "TRIAL") for part in sys.argv],
    "main": main.__spec__.name,
    "main_file": main.__file__,
    "path": sys.path,
    "flags": str(sys.flags),
    "cwd": str(Path.cwd()),
    "environment": dict(os.environ),
    "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "signals": {
        number.name: str(signal.getsignal(number))
        for number in signal.valid_signals()
        if isinstance(number, signal.Signals)
    },
    "blocked": str(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "faulthandler": faulthandler.is_enabled(),
    "descriptors": _descriptors(),
    "threads": sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread()),
    "is_main": threading.current_thread() is threading.main_thread(),
    "gc": [gc.isenabled(), gc.get_threshold()],
    "warnings": [str(each) for each in warnings.filters],
    "streams": [[s.encoding, s.errors, s.line_buffering, s.isatty()] for s in (sys.stdout, sys.stderr)],
    "timeout": socket.getdefaulttimeout(),
    "torch_threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
    "torch_modes": [str(torch.get_default_dtype()), torch.is_grad_enabled(), torch.cuda.is_initialized()],
}
DRAWN = {
    "random": random.random(),
    "numpy": np.random.random(),
    "torch": torch.rand(()).item(),
    "uuid": str(uuid.uuid4()),
}
MEMORY = _memory()


def build(folder: str, number: int = 0):
    square = np.ones((512, 512)) @ np.ones((512, 512)) + (torch.ones(512, 512) @ torch.ones(512, 512)).numpy()
    told = {"number": number, "pid": os.getpid(), "process": PROCESS, "drawn": DRAWN, "memory": MEMORY}
    assert square.max() == 1024
    Path(folder, f"{os.getpid()}.json").write_text(json.dumps(told))
    return good()
