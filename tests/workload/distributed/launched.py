"""Ranks for tests, on gloo and the CPU."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import start


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
    port = free_port()
    ranks = [
        start(*arguments, file=Path(f"rank{rank}"), environment=environment(rank, world_size, port))
        for rank in range(world_size)
    ]
    for rank in ranks:
        rank.process.join(timeout_s)
    codes = [rank.wait(0) for rank in ranks]
    return [RankOutcome(code, rank.out, rank.err) for code, rank in zip(codes, ranks, strict=True)]


def environment(rank: int, world_size: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
