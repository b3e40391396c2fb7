"""Ranks for tests: processes forked from this one, where torch is imported already, on gloo and the CPU."""

import json
import multiprocessing
import os
import socket
from collections.abc import Callable
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
    files = [Path(f"rank{rank}") for rank in range(world_size)]
    port = free_port()

    def run(rank: int) -> None:
        _redirect(files[rank])
        torch.set_num_threads(1)
        os.environ |= environment(rank, world_size, port)
        os._exit(main([str(argument) for argument in arguments]))

    ended = run_forked(run, world_size, timeout_s=timeout_s)
    return [RankOutcome(code, file.with_suffix(".out").read_text(), file.with_suffix(".err").read_text())
            for code, file in zip(ended, files, strict=True)]  # fmt: skip


def run_forked(function: Callable[[int], None], count: int, *, timeout_s: float) -> list[int | None]:
    """Exit codes of `count` processes, each of which calls the function with its number; None of one that never ended."""
    context: Any = multiprocessing.get_context("fork")
    processes = [context.Process(target=function, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout_s)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


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
