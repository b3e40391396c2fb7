"""Writes what kernels allocate for themselves into a log, and keeps account of what of it is an estimate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrtool.results import Assumption
from lrtool.tracing.tracer.log import Birth, OpenNote, TraceLog
from lrtool.tracing.workspaces.convolutions import CONVOLUTIONS
from lrtool.tracing.workspaces.estimates import Estimate
from lrtool.tracing.workspaces.operators import HiddenCosts
from lrtool.units import format_bytes


@dataclass(slots=True)
class _Account:
    """Of one kind of estimates: the largest figures, and how many there are."""

    low_bytes: int = 0
    likely_bytes: int = 0
    high_bytes: int = 0
    num_in_step: int = 0
    most_in_step: int = 0
    total: int = 0

    def add(self, estimate: Estimate) -> None:
        self.low_bytes = max(self.low_bytes, estimate.low_bytes)
        self.likely_bytes = max(self.likely_bytes, estimate.likely_bytes)
        self.high_bytes = max(self.high_bytes, estimate.high_bytes)
        self.num_in_step += 1
        self.most_in_step = max(self.most_in_step, self.num_in_step)
        self.total += 1


class WorkspaceLog:
    """Without `costs` nothing is written; estimates of what operators return are still accounted for."""

    def __init__(self, log: TraceLog, costs: HiddenCosts | None) -> None:
        self._log = log
        self._costs = costs
        self._accounts: dict[str, _Account] = {}

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """One for each kind of estimates that may be anything at all."""
        return tuple(_assumption(what, account) for what, account in self._accounts.items() if account.high_bytes)

    def end_step(self) -> None:
        """What is counted per step is counted anew."""
        for account in self._accounts.values():
            account.num_in_step = 0

    def count(self, estimate: Estimate) -> None:
        """Some size was taken from an estimate."""
        self._accounts.setdefault(estimate.what, _Account()).add(estimate)

    def write(self, operator: str, args: Sequence[Any], *, note: OpenNote, stream: int, in_backward: bool) -> None:
        """Write what the kernel of `operator` allocates; what it gives back is freed at once."""
        if self._costs is None:
            return
        kept, passing = self._costs.of(operator, args, queue=(note.device, stream), in_backward=in_backward)
        # operands are copied before the first workspace is taken
        births = self._births([*passing, *kept], note, stream)
        for birth, size in reversed(list(zip(births[: len(passing)], passing, strict=True))):
            self._log.free(birth, size)
        for estimate in self._costs.estimates(operator, args):
            self.count(estimate)
            self._log.free(self._birth(estimate.likely_bytes, note, stream, estimate), estimate.likely_bytes)

    def _births(self, sizes: Sequence[int], note: OpenNote, stream: int) -> list[Birth]:
        births: list[Birth] = []
        try:
            births.extend(self._birth(size, note, stream) for size in sizes)
        except BaseException:  # memory ran out: what was granted before goes back
            for birth, size in zip(births, sizes, strict=False):
                self._log.free(birth, size)
            raise
        return births

    def _birth(self, num_bytes: int, note: OpenNote, stream: int, estimate: Estimate | None = None) -> Birth:
        low, high = (None, None) if estimate is None else (estimate.low_bytes, estimate.high_bytes)
        return self._log.alloc(num_bytes, stream=stream, note=replace(note, low_bytes=low, high_bytes=high))


def _assumption(what: str, account: _Account) -> Assumption:
    low, likely, high = map(format_bytes, (account.low_bytes, account.likely_bytes, account.high_bytes))
    return Assumption(
        kind="convolution" if what == CONVOLUTIONS else "workspace",
        source=None,
        asked=f"{what}, {account.most_in_step} a step",
        taken=f"{low} to {high} for the largest, {likely} likely",
        times=account.total,
    )
