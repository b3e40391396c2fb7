"""Which rank this process is, as torchrun and other launchers tell it in the environment; free of torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lrtool.errors import UsageError

GROUP = "LRTOOL_GROUP"
"""Names, to a trial's process on each rank, the process group that these processes make among themselves."""
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """This process's place among those that were started together; `attempt` counts a launcher's restarts from 0."""

    rank: int
    world_size: int
    local_rank: int
    address: str
    port: int
    attempt: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the one rank that prints and writes."""
        return self.rank == 0


def launch_of(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """The launch this process is part of; None where nobody launched it. Raises UsageError for a value that is no number."""
    if not all(environment.get(name) for name in VARIABLES):
        return None
    return Launch(
        rank=_number(environment, "RANK"),
        world_size=_number(environment, "WORLD_SIZE"),
        local_rank=_number(environment, "LOCAL_RANK", default=environment["RANK"]),
        address=environment["MASTER_ADDR"],
        port=_number(environment, "MASTER_PORT"),
        attempt=_number(environment, "TORCHELASTIC_RESTART_COUNT", default="0"),
    )


def speaks(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process prints: the first rank, or one that nobody launched."""
    return not all(environment.get(name) for name in VARIABLES) or environment["RANK"].strip("0") == ""


def _number(environment: Mapping[str, str], name: str, *, default: str = "") -> int:
    text = environment.get(name, default)
    if not text.isdecimal():
        raise UsageError(
            f"{name}={text!r} in the environment is not a number", hint="start it with torchrun, or unset it"
        )
    return int(text)
