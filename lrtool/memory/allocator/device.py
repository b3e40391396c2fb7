"""The GPU's memory as the allocator sees it: so many bytes, handed out until they are used up."""

from collections.abc import Sequence
from typing import Literal

from lrtool.memory.allocator.config import SEGMENT_GRANULE_BYTES

_FIRST_ADDRESS = 1 << 44
_SCATTERED_BITS = 20
_ROOM_BITS = 40
Placement = Literal["up", "down", "scattered"]
"""Where the driver puts a new segment: above all others, below, or anywhere. No release documents it."""


class Device:
    """Bytes of one GPU. Addresses follow the `placement`, but for recorded ones, which are reproduced in their order."""

    __slots__ = (
        "_next_address",
        "_num_placed",
        "_placement",
        "_recorded",
        "limit_bytes",
        "log",
        "num_allocs",
        "num_frees",
        "peak_used_bytes",
        "total_bytes",
        "used_bytes",
    )

    def __init__(self, total_bytes: int, recorded: Sequence[tuple[int, int]] = (), placement: Placement = "up") -> None:
        self.total_bytes = total_bytes
        self.limit_bytes = total_bytes
        self.used_bytes = 0
        self.peak_used_bytes = 0
        self.num_allocs = 0
        self.num_frees = 0
        self.log: list[tuple[str, int, int, int]] | None = None
        self._next_address = max([_FIRST_ADDRESS, *(address + size for address, size in recorded)])
        self._placement, self._num_placed = placement, 0
        self._recorded = list(reversed(recorded))

    @property
    def free_bytes(self) -> int:
        return max(self.limit_bytes - self.used_bytes, 0)

    def take(self, num_bytes: int) -> bool:
        """Claim `num_bytes` of physical memory; False where there is not so much left."""
        if self.used_bytes + num_bytes > self.limit_bytes:
            return False
        self.used_bytes += num_bytes
        self.peak_used_bytes = max(self.peak_used_bytes, self.used_bytes)
        return True

    def hold(self, address: int, num_bytes: int) -> None:
        """Claim what the process held before; new segments are placed above it."""
        self.used_bytes += num_bytes
        self.peak_used_bytes = max(self.peak_used_bytes, self.used_bytes)
        self._next_address = max(self._next_address, address + num_bytes)

    @property
    def num_recorded(self) -> int:
        """How many recorded addresses are still to be reproduced."""
        return len(self._recorded)

    def give(self, num_bytes: int) -> None:
        self.used_bytes -= num_bytes
        assert self.used_bytes >= 0

    def place(self, num_bytes: int) -> int:
        """An address range for a new segment: the recorded one as long as the recording is followed."""
        if self._recorded and self._recorded[-1][1] == num_bytes:
            return self._recorded.pop()[0]
        self._recorded.clear()
        room = -(-num_bytes // SEGMENT_GRANULE_BYTES) * SEGMENT_GRANULE_BYTES
        self._num_placed += 1
        if self._placement == "scattered":
            return _reversed_bits(self._num_placed) << _ROOM_BITS
        address = self._next_address - (room if self._placement == "down" else 0)
        self._next_address += -room if self._placement == "down" else room
        return address

    def note(self, action: str, segment: int, offset: int, num_bytes: int) -> None:
        """Count a call to the device, for good, and log it where anybody listens."""
        if action in ("segment_alloc", "segment_map"):
            self.num_allocs += 1
        else:
            self.num_frees += 1
        if self.log is not None:
            self.log.append((action, segment, offset, num_bytes))


def _reversed_bits(number: int) -> int:
    """Numbers one after another are far apart then, and in no order (van der Corput's sequence)."""
    return int(f"{number % (1 << _SCATTERED_BITS):0{_SCATTERED_BITS}b}"[::-1], 2)
