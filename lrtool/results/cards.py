"""The GPUs that lrtool knows by name."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownCard:
    """A GPU model; of those without a compute capability only the memory is known. `usable_bytes` are without the context."""

    name: str
    title: str
    usable_bytes: int
    total_bytes: int
    context_bytes: int
    capability: str | None
    num_multiprocessors: int | None
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownCards:
    """What `lrtool cards` lists."""

    schema: Literal[1]
    command: Literal["cards"]
    cards: tuple[KnownCard, ...]
