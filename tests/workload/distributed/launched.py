"""Ranks for tests, on gloo and the CPU: processes forked from one where torch is imported, and nothing was trained."""

import json
import multiprocessing
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lrtool.cli import main


@dataclass(frozen=True)
class RankOutcome:
    """How a command line ended on one rank, and what it printed."""

    code: int | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def on_ranks(world_size: int, *arguments: str | Path, timeout_s: float = 60) -> list[RankOutcome]:
    """Run a command line on every rank of a new launch."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch._dynamo", "lrtool.cli", "lrtool.lr.measure", "lrtool.memory.recorders.predicted"]
    )
    files, port = [Path(f"rank{rank}") for rank in range(world_size)], free_port()
    command = [str(argument) for argument in arguments]
    ranks = [
        context.Process(target=_run, args=(command, {**os.environ, **environment(rank, world_size, port)}, file))
        for rank, file in enumerate(files)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout_s)
    codes = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
    return [RankOutcome(code, file.with_suffix(".out").read_text(), file.with_suffix(".err").read_text())
            for code, file in zip(codes, files, strict=True)]  # fmt: skip


def _run(command: list[str], variables: dict[str, str], file: Path) -> None:
    _redirect(file)
    torch.set_num_threads(1)
    os.environ.clear()
    os.environ |= variables
    os._exit(main(command))


def environment(rank: int, world_size: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _redirect(file: Path) -> None:
    for descriptor, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(file.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
