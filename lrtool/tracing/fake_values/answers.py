"""Answers to questions about data that fake tensors do not have: numbers, truth values, and sizes of selections.

What follows from the batch is answered as it is. Elsewhere training goes on as it normally does: a check for trouble finds
none, an assertion passes, an optimizer steps, a loop runs on, and a selection is as large as it can be. Each such answer is
an assumption of the prediction.
"""

import math
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch

from lrtool.results import AssumptionKind
from lrtool.tracing.fake_values.asking import Asker, Comparison, find_asker
from lrtool.tracing.fake_values.listener import Listener
from lrtool.tracing.fake_values.truths import expected_truth
from lrtool.tracing.fake_values.values import is_drawn, number_in, values_of

_ASKED_TOO_OFTEN = 1000
"""After so many equal answers at one line the other is given once: a loop must end."""
_COMPUTED = "as computed along on the CPU"
_UNNAMED: dict[AssumptionKind, str] = {"value": "a value", "size": "the size of a selection"}
_YES_NO = {True: "yes", False: "no"}


class Answers:
    """Gives the answers, and tells `listener` of each that is an assumption.

    At the lines `other_at` the other one is given; of `shares`, by line, a selection whose size is not known takes that
    part. `seen_shares` are those of selections that are known; if `is_exact`, these have their size in each step.
    """

    def __init__(
        self,
        listener: Listener,
        *,
        other_at: frozenset[str] = frozenset(),
        shares: Mapping[str, float] = MappingProxyType({}),
        is_exact: bool = False,
    ) -> None:
        self.seen_shares: dict[str, float] = {}
        self._listener = listener
        self._other_at, self._shares, self._is_exact = other_at, shares, is_exact
        self._times: Counter[str] = Counter()
        self._num_numbers = 0

    def number(self, tensor: Tensor) -> Any:
        """A plausible `.item()`; the true one where it is known."""
        fixed = getattr(tensor, "_lrtool_answer", None)
        if fixed is not None:
            return fixed
        if tensor.dtype is torch.bool:
            return self.truth(tensor)
        value, asker = number_in(tensor), find_asker()
        comparison = None if asker is None or asker.wish is None else asker.comparison
        if value is not None:
            return self._known_number(tensor, value, asker, comparison)
        if asker is None or asker.wish is None or comparison is None:
            self._tell("value", asker, "about 1")
            return self._usual_number(tensor)
        answer = comparison.number(self._chosen(asker, asker.wish), is_whole=not tensor.is_floating_point())
        self._tell("value", asker, f"{answer:g}", is_branch=True)
        return answer

    def truth(self, tensor: Tensor) -> bool:
        """The answer to `if tensor`."""
        value, asker = number_in(tensor), find_asker()
        if value is not None:
            if not is_drawn(tensor):
                return bool(value)
            answer = self._chosen(asker, bool(value))
            self._tell("value", asker, f"{_YES_NO[answer]}, {_COMPUTED}", is_branch=True)
            return answer
        if tensor.dtype is not torch.bool:
            return bool(self.number(tensor))
        answer, is_certain = expected_truth(tensor)
        if not is_certain:
            answer = self._chosen(asker, answer if asker is None or asker.wish is None else asker.wish)
        self._tell("value", asker, _YES_NO[answer], is_branch=not is_certain)
        return answer

    def equality(self, first: Tensor, second: Tensor) -> bool:
        """Of torch.equal and torch.allclose."""
        one, other = values_of(first), values_of(second)
        if one is not None and other is not None:
            with no_dispatch():
                return one.shape == other.shape and torch.allclose(one, other)
        asker = find_asker()
        answer = self._chosen(asker, True if asker is None or asker.wish is None else asker.wish)
        self._tell("value", asker, _YES_NO[answer], is_branch=True)
        return answer

    def size(self, most: int) -> int:
        """How many of `most` elements a selection takes, which is not known: all, unless a run on the CPU took fewer."""
        asker = find_asker()
        share = 1.0 if asker is None else self._shares.get(asker.site, 1.0)
        count = min(1, most) if self._is_other(asker) else math.ceil(share * most)
        self._tell("size", asker, f"{count:,} of {most:,}", is_branch=True)
        return count

    def counted(self, tensor: Tensor, count: int, most: int) -> int:
        """How many a selection takes, which is known; where random numbers had a part in it, the most that it took so far.

        So steps become equal, as a run's peak is that of its largest; where a whole run on the CPU is followed, each is
        as it is.
        """
        if not is_drawn(tensor) or not most:
            return count
        asker = find_asker()
        self._tell("size", asker, _COMPUTED if self._is_exact else f"{_COMPUTED}, the most so far")
        if asker is None:
            return count
        share = max(self.seen_shares.get(asker.site, self._shares.get(asker.site, 0.0)), count / most)
        self.seen_shares[asker.site] = share
        return count if self._is_exact else round(share * most)

    def contents_unknown(self) -> None:
        """All of a tensor is read that nobody knows; it gets zeros."""
        self._tell("value", find_asker(), "zeros")

    def _known_number(self, tensor: Tensor, value: Any, asker: Asker | None, comparison: Comparison | None) -> Any:
        """The number itself; where it is compared, one for which the comparison comes out otherwise if that is wanted."""
        if not is_drawn(tensor):
            return value
        self._tell("value", asker, _COMPUTED, is_branch=comparison is not None)
        if comparison is None or not self._is_other(asker):
            return value
        return comparison.number(not comparison.holds(value), is_whole=not tensor.is_floating_point())

    def _usual_number(self, tensor: Tensor) -> float | int:
        """A loss that slowly falls towards 1."""
        self._num_numbers += 1
        return 1 + 1 / (1 + self._num_numbers) if tensor.is_floating_point() else 1

    def _chosen(self, asker: Asker | None, usual: bool) -> bool:
        """The usual answer, or the other one: where it is wanted, and now and then in a loop that would not end."""
        if asker is None:
            return usual
        self._times[asker.site] += 1
        return usual != (self._is_other(asker) or self._times[asker.site] % _ASKED_TOO_OFTEN == 0)

    def _is_other(self, asker: Asker | None) -> bool:
        return asker is not None and asker.site in self._other_at

    def _tell(self, kind: AssumptionKind, asker: Asker | None, taken: str, *, is_branch: bool = False) -> None:
        asked, site = (_UNNAMED[kind], None) if asker is None else (asker.text, asker.site)
        self._listener.on_assumption(kind, asked, taken, site if is_branch else None)


def remember_no_overflow(found_inf: Tensor) -> None:
    """A GradScaler that checks this tensor finds no overflow; otherwise it would skip every optimizer step."""
    found_inf._lrtool_answer = 0.0  # type: ignore[attr-defined]
