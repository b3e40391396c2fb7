"""A limit on memory that a traced program feels: what does not fit raises torch's error where the program can catch it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lrtool.errors import UnavailableError
from lrtool.memory.allocator.blocks import Block
from lrtool.memory.allocator.caching_allocator import Allocator, DeviceAllocationError, OutOfMemoryError
from lrtool.memory.allocator.config import AllocatorSettings
from lrtool.memory.allocator.heap import AllocatorAssertError
from lrtool.memory.allocator.versions import TorchVersion
from lrtool.results import Category
from lrtool.tracing.tracer.log import Birth, OpenNote
from lrtool.units import format_bytes

MAX_FAILURES = 1_000
"""A program that tries for ever is not followed for ever."""
_OF_THE_ATTEMPT = (Category.ACTIVATION, Category.TEMPORARY, Category.GRADIENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What each device has, and how its memory is managed."""

    capacity_bytes: int
    settings: AllocatorSettings
    version: TorchVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that failed. `in_handler` says that it came while an earlier out-of-memory was being handled, and
    `held_bytes` were made by that attempt, in this step, and are still there.
    """

    step: int
    num_bytes: int
    source: str | None
    in_handler: bool
    held_bytes: int


class Gate:
    """Plays requests as they come on simulated allocators, and raises torch.OutOfMemoryError for those that fail."""

    def __init__(self, limit: Limit) -> None:
        self.failures: list[Failure] = []
        self.on_failure: Callable[[], None] = lambda: None
        self._limit = limit
        self._allocators: dict[int, Allocator] = {}
        self._live: dict[Birth, tuple[Block, int, OpenNote]] = {}
        self._attempt: dict[Birth, int] = {}
        self._attempt_step = 0

    def alloc(self, birth: Birth, num_bytes: int, *, stream: int, note: OpenNote) -> None:
        """Raises torch.OutOfMemoryError."""
        try:
            block = self._allocator(note.device).alloc(num_bytes, stream)
        except (OutOfMemoryError, DeviceAllocationError, AllocatorAssertError):
            self._fail(birth.step, num_bytes, note)
        else:
            self._live[birth] = (block, num_bytes, note)

    def free(self, birth: Birth) -> None:
        """What is not live was never granted."""
        known = self._live.pop(birth, None)
        if known is not None:
            block, _, note = known
            self._allocator(note.device).free(block)

    def empty_cache(self) -> None:
        """On every device."""
        for allocator in self._allocators.values():
            allocator.empty_cache()

    def _allocator(self, device: int) -> Allocator:
        if device not in self._allocators:
            limit = self._limit
            self._allocators[device] = Allocator(
                limit.settings, total_bytes=limit.capacity_bytes, version=limit.version
            )
        return self._allocators[device]

    def _fail(self, step: int, num_bytes: int, note: OpenNote) -> None:
        in_handler = _handles_out_of_memory(sys.exc_info()[1])
        is_retry = bool(self._attempt) and self._attempt_step == step
        held = sum(size for birth, size in self._attempt.items() if birth in self._live) if is_retry else 0
        self.failures.append(
            Failure(step=step, num_bytes=num_bytes, source=note.source, in_handler=in_handler, held_bytes=held)
        )
        if not is_retry:
            self._attempt_step = step
            self._attempt = {
                birth: size
                for birth, (_, size, each) in self._live.items()
                if birth.step == step and each.category in _OF_THE_ATTEMPT
            }
        self.on_failure()
        if len(self.failures) > MAX_FAILURES:
            raise UnavailableError(
                f"it ran out of memory {MAX_FAILURES:,} times and tried again", hint="give it a larger --capacity"
            )
        wanted, total = format_bytes(num_bytes), format_bytes(self._limit.capacity_bytes)
        raise torch.OutOfMemoryError(
            f"CUDA out of memory. Tried to allocate {wanted}. GPU {note.device} has a total capacity of {total}."
        ) from None


def _handles_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error came while torch's was being handled."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__context__
    return False
