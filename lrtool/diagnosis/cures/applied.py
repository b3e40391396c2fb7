"""What a cure yields: the workload it changed with the lines that do the same by hand, or the reason why it cannot help."""

from dataclasses import dataclass

from lrtool.errors import LrtoolError
from lrtool.workload.workload import Workload


class CannotHelp(LrtoolError):
    """A cure has nothing to do in this workload, or cannot be applied to it from outside; the message says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, hint="no other workload is meant; try the other cures")


class OnlyAdvice(CannotHelp):
    """A cure that must be made in the user's own data, and cannot be tried from outside; the message says what for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CureOptions:
    """What cures are told: the `modules` to checkpoint, by name or pattern (none means find them), and how many batches a
    trial takes. With a `batch_size`, every batch has that many samples before any cure sees it.
    """

    modules: tuple[str, ...] = ()
    num_batches: int = 64
    batch_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedCure:
    """The changed workload, and two or three lines that change the user's own code in the same way."""

    workload: Workload
    how: tuple[str, ...]
