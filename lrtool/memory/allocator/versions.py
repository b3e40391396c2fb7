"""What differs between PyTorch releases 2.0 to 2.15 in the CUDA caching allocator, as one table of rules."""

import re
from dataclasses import dataclass
from enum import Enum

from lrtool.errors import UsageError

OLDEST = (2, 0)
NEWEST = (2, 15)


class TieOrder(Enum):
    """Which of several free blocks of one size is taken first."""

    ADDRESS = "address"
    BLOCK_CREATION = "block creation"
    SEGMENT_CREATION = "segment creation, then offset"


@dataclass(frozen=True, slots=True, order=True)
class TorchVersion:
    """A PyTorch release, as far as its allocator's rules tell releases apart."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    def has(self, minor: int) -> bool:
        """Whether this is release 2.`minor` or later."""
        return (self.major, self.minor) >= (2, minor)

    @property
    def tie_order(self) -> TieOrder:
        if self.has(13):
            return TieOrder.SEGMENT_CREATION
        return TieOrder.BLOCK_CREATION if self.has(12) else TieOrder.ADDRESS

    @property
    def leaves_division_one_unrounded(self) -> bool:
        """Division 1 meant "as it is", not even a multiple of 512 bytes."""
        return not self.has(4)

    @property
    def asserts_on_releasing_expandable(self) -> bool:
        """Releasing oversize blocks ran into expandable ones and failed with an internal assert."""
        return not self.has(5)

    @property
    def no_caching_by_any_value(self) -> bool:
        """PYTORCH_NO_CUDA_MEMORY_CACHING=0 disabled caching too."""
        return not self.has(7)

    @property
    def starts_rest_after_last_key(self) -> bool:
        """In a list of divisions, `>` fills the buckets after the last key's, not from it on."""
        return self.has(10)

    @property
    def min_max_split_mb(self) -> int:
        """The smallest legal max_split_size_mb, in MiB."""
        return 20 if self.has(10) else 21


LATEST = TorchVersion(*NEWEST)


def parse_torch_version(text: str) -> TorchVersion:
    """The release of "2.13", "2.13.1" or "2.13.0+cu130". Raises UsageError outside 2.0 to 2.15."""
    match = re.fullmatch(r"\s*v?(\d{1,4})\.(\d{1,4})(?:[.+\-a-z].*)?", text)
    if match is None:
        raise UsageError(f"{text!r} is not a torch version", hint="write it like 2.13")
    version = (int(match.group(1)), int(match.group(2)))
    if not OLDEST <= version <= NEWEST:
        raise UsageError(
            f"the allocator of torch {version[0]}.{version[1]} is not known",
            hint=f"known are 2.{OLDEST[1]} to 2.{NEWEST[1]}",
        )
    return TorchVersion(*version)


def torch_version(text: str | None = None) -> TorchVersion:
    """The release of a version text, without one of the torch that is installed; also one newer than what lrtool knows."""
    if text is None:
        import torch  # here, so that who only starts trials need not load it

        text = torch.__version__
    major, minor = re.findall(r"\d+", text)[:2]
    return TorchVersion(int(major), int(minor))
