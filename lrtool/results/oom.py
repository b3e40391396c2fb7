"""The request that failed, as the player, a recording or a snapshot tells of it, and what is stored of it."""

from dataclasses import dataclass
from typing import Literal

from lrtool.results.checks import Count

OomCause = Literal["capacity", "fragmentation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Oom:
    """The request that failed: in which step (from 1; 0 while building), how large it was, and why; None is not known.

    Its cause is "fragmentation" where all free memory, cached or on the device, would have been enough in one piece, and
    else "capacity". `is_barred` says that even one free piece was large enough, but tied to another stream, kept by a
    setting, or smaller than the segment torch would ask for. `request` is its number as it happened. `status` is "oom",
    or "error" where torch raises something else than OutOfMemoryError; `detail` then says what. `at_start` says that what a
    recorded process held before its first request does not fit already; `size_bytes` is then what was live.
    """

    step: int
    size_bytes: int | None
    cause: OomCause | None
    request: int | None = None
    status: Literal["oom", "error"] = "oom"
    is_barred: bool = False
    largest_free_bytes: int | None = None
    free_bytes: int | None = None
    phase: str | None = None
    category: str | None = None
    operator: str | None = None
    source: str | None = None
    detail: str | None = None
    at_start: bool = False

    @property
    def as_stored_of_trial(self) -> "TrialOom":
        return TrialOom(step=self.step, request_bytes=self.size_bytes, cause=self.cause, source=self.source)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialOom:
    """The step at which a trial ran out of memory (from 1; 0 while building), its failing request, and the cause if known."""

    step: Count
    request_bytes: Count | None
    cause: OomCause | None
    source: str | None

    @property
    def oom(self) -> Oom:
        return Oom(step=self.step, size_bytes=self.request_bytes, cause=self.cause, source=self.source)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedOom:
    """The last out-of-memory that a recording holds, on the device of that number, in bytes; `num_ooms` counts all.

    `request` is its place among the recording's requests, from 0. `reserved_bytes` were held by then, `device_free_bytes`
    free on the device, and `largest_free_bytes` is the largest free piece, of `free_bytes` in all.
    """

    device: Count
    request: Count
    size_bytes: Count
    device_free_bytes: Count
    reserved_bytes: Count
    largest_free_bytes: Count
    free_bytes: Count
    source: str | None
    num_ooms: Count

    @property
    def capacity_bytes(self) -> int:
        """What there was for the process."""
        return self.device_free_bytes + self.reserved_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayOom:
    """The request at which a replayed program runs out of memory, in bytes, and the settings under which it does not.

    "fragmentation" means that no free piece was large enough though all of them together were; `is_barred` that one was,
    but tied to another stream or kept by a setting. `at_start` says that what was live before the first one does not fit.
    """

    request: Count
    size_bytes: Count
    phase: str | None
    source: str | None
    cause: OomCause
    is_barred: bool
    largest_free_bytes: Count
    free_bytes: Count
    detail: str | None
    surviving_settings: tuple[str, ...]
    at_start: bool = False
