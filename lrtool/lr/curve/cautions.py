"""What caps the confidence, whatever the curve looks like: how the ramp was taken, and what its losses are. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lrtool.lr.curve.smoothing import SIGMA_OVER_MAD, Losses
from lrtool.results import Confidence, Curve, Landmarks
from lrtool.units import count_of

MOST_EPOCHS = 40.0
CLIPPED_PART = 0.5
QUIET_PART = 0.25
FEWEST_QUIET = 24
ALIKE = 0.5
"""Correlation of neighbouring losses: at most 0.15 in shuffled cases (docs/lr-suggestion.md), 0.8 in sorted ones."""
VISIBLE_PART = 0.02
FEWEST_TURNS = 6
"""From above the trend to below it and back: a loss that bends or jumps once has three or four."""
AROUND_ZERO = 1.0
RANKS: tuple[Confidence, ...] = ("none", "low", "medium", "high")


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """How a ramp was taken, as far as it moves the confidence; None where unknown.

    `clipped_part` is that of the steps looked at whose gradients were clipped; `optimizer` says why one LR after another shows
    less of this optimizer than of others, None where it does not; `samples_actions` is whether the step samples from a
    distribution and trains on the log-probability of what it got.
    """

    num_samples: int | None = None
    steps_per_epoch: int | None = None
    is_in_order: bool = False
    clipped_part: float = 0.0
    optimizer: str | None = None
    samples_actions: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Caution:
    """The most that a suggestion is trusted, why, and what to do about it."""

    cap: Confidence
    reason: str
    advice: str | None = None


def cautions(curve: Curve, marks: Landmarks, taken: Circumstances) -> Iterator[Caution]:
    """Everything that caps the confidence."""
    if not marks.falls_from_start and are_alike(curve.loss, drop=marks.drop):
        yield ordered(taken)
    seen = times_seen(len(curve.lr), taken)
    if seen is not None and seen > MOST_EPOCHS:
        yield Caution(
            cap="low",
            reason=f"{samples_seen(taken.num_samples, seen)}: the training loss shows what is memorized",
            advice="judge by the validation loss: --confirm --confirm-loss val",
        )
    if taken.clipped_part >= CLIPPED_PART:
        part = f"{100 * taken.clipped_part:.0f} % of the steps looked at"
        yield Caution(cap="medium", reason=f"gradients are clipped in {part}, which hides the LR that is too large")
    if taken.optimizer is not None:
        yield Caution(cap="low", reason=taken.optimizer, advice="try LRs around it from the start, with --confirm")
    if taken.samples_actions or is_around_zero(curve.loss):
        why = "is taken on samples of the model's own" if taken.samples_actions else "begins at zero, within its noise"
        yield Caution(
            cap="low",
            reason=f"the loss {why}: as a surrogate, in policy gradients, it need not fall where training succeeds",
            advice="judge by the return that it is a surrogate of",
        )


def capped(
    confidence: Confidence, reason: str, advice: str | None, found: Sequence[Caution]
) -> tuple[Confidence, str, str | None]:
    """Confidence, reason and advice with the cautions."""
    lowest = min([confidence, *(each.cap for each in found)], key=RANKS.index)
    told = "; ".join([reason, *(each.reason for each in found)])
    return lowest, told, next((each.advice for each in found if each.advice is not None), advice)


def times_seen(num_steps: int, taken: Circumstances) -> float | None:
    """How often a ramp saw each sample; None where the loader does not know its length."""
    return None if not taken.steps_per_epoch else num_steps / taken.steps_per_epoch


def samples_seen(num_samples: int | None, times: float) -> str:
    """How often how many samples were seen, as a clause."""
    which = "each sample" if num_samples is None else f"each of {count_of(num_samples, 'sample')}"
    return f"{which} was seen {times:.0f} times"


def are_alike(losses: Sequence[float], *, drop: float) -> bool:
    """Whether the losses of neighbouring batches go together while the LR does nothing yet, as those of sorted batches do.

    Only where they differ by more than a little of what the curve falls by: what a loss without noise leaves is alike, too.
    """
    quiet = _quiet(losses)
    if len(quiet) < FEWEST_QUIET or np.std(quiet) < VISIBLE_PART * drop:
        return False
    num_turns = int(np.count_nonzero(np.diff(np.signbit(quiet))))
    return num_turns >= FEWEST_TURNS and _correlation(quiet[1:], quiet[:-1]) > ALIKE


def _quiet(losses: Sequence[float]) -> Losses:
    """The losses of the first part of a ramp, less their trend (a parabola)."""
    head = np.asarray(losses[: max(FEWEST_QUIET, int(QUIET_PART * len(losses)))], dtype=np.float64)
    place = np.linspace(-1.0, 1.0, len(head))
    trend: Losses = np.polynomial.Polynomial.fit(place, head, min(2, len(head) - 1))(place)
    return head - trend


def _correlation(left: Losses, right: Losses) -> float:
    spread = float(np.std(left) * np.std(right))
    return float(np.mean((left - left.mean()) * (right - right.mean()))) / spread if spread > 0 else 0.0


def ordered(taken: Circumstances) -> Caution:
    """That the batches come in an order."""
    period = (
        f", with the period of an epoch ({count_of(taken.steps_per_epoch, 'step')})" if taken.steps_per_epoch else ""
    )
    source = (
        "the loader does not shuffle" if taken.is_in_order else "they come in an order, such as that of their classes"
    )
    return Caution(
        cap="low",
        reason=f"neighbouring batches are alike{period}: {source}, and the loss shows which batch came as much as the LR",
        advice="shuffle the samples: DataLoader(..., shuffle=True)",
    )


def is_around_zero(losses: Sequence[float]) -> bool:
    """Whether the losses scatter around zero while the LR does nothing yet."""
    head = np.asarray(losses[: max(FEWEST_QUIET, int(QUIET_PART * len(losses)))], dtype=np.float64)
    level = float(np.median(head))
    scatter = SIGMA_OVER_MAD * float(np.median(np.abs(head - level)))
    return abs(level) < AROUND_ZERO * scatter or (level == 0.0 and scatter == 0.0)
