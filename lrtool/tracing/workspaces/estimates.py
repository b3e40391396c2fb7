"""Sizes of allocations that no public source gives a formula for: what they likely are, and between which bounds. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes of one allocation: at least `low_bytes`, at most `high_bytes`. `what` says what it is, as "workspace of
    convolutions".
    """

    what: str
    low_bytes: int
    likely_bytes: int
    high_bytes: int

    def __post_init__(self) -> None:
        assert 0 <= self.low_bytes <= self.likely_bytes <= self.high_bytes, self
