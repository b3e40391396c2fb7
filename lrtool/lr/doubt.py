"""Steps from the start, where the curve leaves room for doubt: they decide before a suggestion is printed.

Twenty steps at max_lr show whether training there is stable at all. A few at a far smaller LR show whether it is the LR that
moves the loss. A run whose losses are those of the ramp to the last bit, at other LRs, shows that the LR is not in force.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from lrtool.errors import LrtoolError
from lrtool.lr.confirm import are_the_same, finite_part, not_in_force
from lrtool.lr.curve.cautions import are_alike
from lrtool.lr.curve.landmarks import first_above, initial_level
from lrtool.lr.curve.rates import from_max
from lrtool.lr.curve.smoothing import head_length
from lrtool.lr.curve.suggest import Suggestion, moved_to, none_of
from lrtool.lr.measure import Ramp, set_lr
from lrtool.lr.source import Source, ready
from lrtool.results import ConfirmingRun
from lrtool.units import count_of, format_lr
from lrtool.workload.batches import LoaderEnded

CHECKED_STEPS = 20
TAIL_STEPS = 5
MOST_LRS = 3
LOWER_BY = 10**-0.5
NOISE_ALLOWED = 2.0
CONTROL_STEPS = 40
MOST_CONTROL_STEPS = 120
EXPLODED = 100.0
"""Times the first loss: an exception beyond it is one of weights that exploded."""
CONTROL_LR = 1e-3
"""Over the first LR of the ramp."""
RULE = "the highest LR, half a decade apart, at which 20 steps from the start are stable"


class _CannotRunError(Exception):
    """The user's code raised where its losses were still those of a training."""


@dataclass(kw_only=True, slots=True)
class Doubt:
    """The runs that settle it, as they are made; `error` is the Ctrl-C that cut them short."""

    source: Source
    seed: int
    runs: list[ConfirmingRun] = field(default_factory=list)
    duration_s: float = 0.0
    error: BaseException | None = None

    def run(self, lr: float, num_steps: int) -> list[float]:
        """The losses of so many steps from the start; those after the first that is not finite are left out."""
        losses: list[float] = []
        with ready(self.source, seed=self.seed) as start:
            pending = []
            try:
                for _ in range(num_steps):
                    set_lr(start.workload.optimizer, lr, start.setup.group_ratios)
                    pending.append(start.step())
            except LrtoolError:
                raise
            except Exception as error:
                if not _has_exploded(start.loss_reader().read(pending) if pending else []):
                    raise _CannotRunError from error
                pending.append(torch.tensor(math.nan))  # what the user's code makes of weights that exploded
            losses = start.loss_reader().read(pending) if pending else []
        finite = finite_part(losses)
        final = float(np.mean(finite[-TAIL_STEPS:])) if len(finite) == num_steps else None
        self.runs.append(ConfirmingRun(schedule="constant", max_lr=lr, loss=finite, final_loss=final))
        return list(finite)


def _has_exploded(losses: Sequence[float]) -> bool:
    """Whether losses have left the range in which they began, or are not finite."""
    finite = finite_part(losses)
    return len(finite) < len(losses) or (
        len(finite) > 1 and max(map(abs, finite)) > EXPLODED * max(abs(finite[0]), 1.0)
    )


def settle(source: Source, suggestion: Suggestion, ramp: Ramp, *, seed: int) -> tuple[Suggestion, Doubt]:
    """The suggestion after the steps that its doubt asks for; as it was where there is none, or no batch is left for them."""
    doubt, begin = Doubt(source=source, seed=seed), time.perf_counter()
    try:
        suggestion = _settled(doubt, suggestion, ramp)
    except LoaderEnded:  # of a live iterator the ramp took all batches
        pass
    except _CannotRunError as failed:
        raised = type(failed.__cause__).__name__
        suggestion = replace(
            suggestion, reason=f"{suggestion.reason}; steps from the start, to make sure, raised {raised}"
        )
    except BaseException as error:
        doubt.error = error
    doubt.duration_s = time.perf_counter() - begin
    return suggestion, doubt


def _settled(doubt: Doubt, suggestion: Suggestion, ramp: Ramp) -> Suggestion:
    is_ordered = are_alike(suggestion.curve.loss, drop=suggestion.landmarks.drop if suggestion.landmarks else 0.0)
    if suggestion.rates is None:
        asks = ramp.stop.kind in ("end", "diverged", "non-finite") and not is_ordered
        return _caused_by_lr(doubt, suggestion, ramp) if asks else suggestion
    if suggestion.confidence != "low":
        return suggestion
    if suggestion.landmarks is not None and suggestion.landmarks.falls_from_start:
        suggestion = _caused_by_lr(doubt, suggestion, ramp)
    # of sorted batches the next ones are always worse, at any LR
    return suggestion if suggestion.rates is None or is_ordered else _stable(doubt, suggestion, ramp)


def _stable(doubt: Doubt, suggestion: Suggestion, ramp: Ramp) -> Suggestion:
    """The suggestion, or one as far down as it takes for CHECKED_STEPS at its max_lr to end no higher than they began."""
    assert suggestion.rates is not None
    assert suggestion.landmarks is not None
    tried: list[str] = []
    level = initial_level(np.asarray(suggestion.curve.smoothed_loss))
    allowed = level + NOISE_ALLOWED * suggestion.landmarks.noise
    for number in range(MOST_LRS):
        lr = suggestion.rates.max_lr * LOWER_BY**number
        losses = doubt.run(lr, CHECKED_STEPS)
        if are_the_same(losses, ramp.losses):
            return not_in_force(suggestion, lr, ramp.lrs[0])
        if doubt.runs[-1].final_loss is not None and np.mean(losses[-TAIL_STEPS:]) <= allowed:
            return _told(suggestion, lr, tried)
        tried.append(format_lr(lr))
    return none_of(
        suggestion,
        reason=f"{suggestion.reason}; {CHECKED_STEPS} steps from the start diverge at {_listed(tried)}",
        advice="normalize the inputs, clip gradients, or begin the ramp lower, with --start-lr and --num-steps 800",
    )


def _told(suggestion: Suggestion, lr: float, tried: Sequence[str]) -> Suggestion:
    steps = f"{CHECKED_STEPS} steps from the start"
    if not tried:
        return replace(suggestion, reason=f"{suggestion.reason}; {steps} at {format_lr(lr)} are stable")
    assert suggestion.landmarks is not None
    reason = f"{suggestion.reason}; {steps} diverge at {_listed(tried)} and are stable at {format_lr(lr)}"
    return moved_to(suggestion, from_max(lr, descent=suggestion.landmarks.descent), rule=RULE, reason=reason)


def _caused_by_lr(doubt: Doubt, suggestion: Suggestion, ramp: Ramp) -> Suggestion:
    """The suggestion, or none: where the loss moves as far at an LR too small to do it, something else moves it."""
    count = _steps_of_the_change(suggestion, ramp)
    if count is None:
        return suggestion
    lr = ramp.lrs[0] * CONTROL_LR
    losses = doubt.run(lr, count)
    if len(losses) == count and not _moves_alike(losses, ramp.losses[:count]):
        return suggestion
    does = "falls" if suggestion.rates is not None else "rises"
    return none_of(
        suggestion,
        reason=f"something else moves this loss: in {count_of(count, 'step')} it {does} as far at LR {format_lr(lr)} "
        f"as at up to {format_lr(ramp.lrs[count - 1])}",
        advice="look for what changes from step to step: the order of the batches, a weight of the loss, what step() keeps",
    )


def _steps_of_the_change(suggestion: Suggestion, ramp: Ramp) -> int | None:
    """How many steps show the change of the loss that the LR may not have caused; None where there is none in reach."""
    count = len(ramp.losses)
    if suggestion.rates is not None:
        return min(CONTROL_STEPS, count)
    smooth = np.asarray(suggestion.curve.smoothed_loss)
    level, top = initial_level(smooth), float(smooth.max())
    rise = first_above(smooth, (level + top) / 2, 0)
    if count < CONTROL_STEPS or rise is None or smooth[-1] <= level or rise + TAIL_STEPS > MOST_CONTROL_STEPS:
        return None
    return min(count, rise + 2 * TAIL_STEPS)


def _moves_alike(control: Sequence[float], ramp: Sequence[float]) -> bool:
    """Whether the losses of a control end at least half as far from where they began as those of the ramp, the same way."""
    head = max(3, min(TAIL_STEPS, head_length(len(ramp))))
    moved, asked = (float(np.median(losses[-TAIL_STEPS:]) - np.median(losses[:head])) for losses in (control, ramp))
    return asked != 0 and moved / asked >= 0.5


def _listed(lrs: Sequence[str]) -> str:
    return " and ".join([", ".join(lrs[:-1]), lrs[-1]] if len(lrs) > 1 else lrs)
