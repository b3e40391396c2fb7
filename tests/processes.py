"""Command lines in processes of their own, forked from one where torch is imported, and nothing was trained.

Such a process is one as any other to signals, to its descriptors and to who waits for it, and starts in no time. How an
interpreter starts and ends is not seen in it.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT: Any = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "lrtool.cli", "lrtool.lr.measure", "lrtool.memory.recorders.predicted", "lrtool.report.files"]
)


@dataclass(frozen=True)
class Started:
    """A command line that runs; its output goes into files."""

    process: Any
    file: Path

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def out(self) -> str:
        return self.file.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        return self.file.with_suffix(".err").read_text()

    def wait(self, timeout_s: float = 120) -> int | None:
        """Its exit code, that of a signal below zero; None where it has not ended in time, and is killed."""
        self.process.join(timeout_s)
        code: int | None = self.process.exitcode
        self.process.kill()
        return code

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


def start(
    *arguments: str | Path,
    file: Path,
    environment: dict[str, str] | None = None,
    first: Callable[[], None] | None = None,
) -> Started:
    """Run a command line here; it writes to `file`.out and `file`.err, and calls `first` before all else."""
    command = [str(argument) for argument in arguments]
    variables = {**os.environ, **(environment or {})}
    process = CONTEXT.Process(target=_run, args=(command, variables, file, first))
    for suffix in (".out", ".err"):
        file.with_suffix(suffix).touch()
    process.start()
    return Started(process, file)


def _run(command: list[str], variables: dict[str, str], file: Path, first: Callable[[], None] | None) -> None:
    import torch

    from lrtool.entry import run

    for descriptor, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(file.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    torch.set_num_threads(1)
    os.environ.clear()
    os.environ |= variables
    sys.argv = ["lrtool", *command]
    if first is not None:
        first()
    code = 0
    try:
        run()
    except SystemExit as ended:
        code = int(ended.code or 0)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
