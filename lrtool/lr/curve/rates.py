"""From landmarks to base_lr, max_lr and a constant LR: the rule, in one place. Pure."""

import math
from dataclasses import dataclass

from lrtool.lr.curve.landmarks import Places
from lrtool.lr.curve.smoothing import Losses

RULE = "landmarks: 0.6 x geometric mean of half descent, minimum, upturn and divergence"
MAX_OVER_CENTRE = 0.6
CONSTANT_OVER_MAX = 0.4
LARGEST_BASE = 1 / 4
SMALLEST_BASE = 1 / 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """LRs of the parameter group with the largest one."""

    base_lr: float
    max_lr: float
    suggested_lr: float


def rates(lrs: Losses, places: Places) -> Rates:
    """The LRs that landmarks at `places` of the ramp `lrs` support.

    The centre is the geometric mean of where descent is half done, the minimum, the upturn and the divergence: early landmarks
    fall short where training goes on to gain, late ones run into the explosion, and their errors have opposite signs. The
    factors are fits: docs/lr-suggestion.md. What was not seen is no landmark: without a divergence the upturn stands for it,
    and without an upturn the centre lies between half of the descent and nine tenths, where the loss was seen to fall.
    """
    upturn = places.upturn
    seen = (
        [places.half_descent, places.settled]
        if upturn is None
        else [places.half_descent, places.minimum, upturn, upturn if places.divergence is None else places.divergence]
    )
    centre = math.prod(float(lrs[place]) ** (1 / len(seen)) for place in seen)
    return from_max(MAX_OVER_CENTRE * centre, descent=float(lrs[places.descent]))


def from_max(max_lr: float, *, descent: float) -> Rates:
    """The other two LRs that go with a `max_lr`.

    A constant LR has to be good to the end of training, a cycle's only for a while. base_lr is where the descent begins
    (Smith 2015, arXiv:1506.01186), at most a quarter of max_lr, at least a hundredth.
    """
    base_lr = min(max(descent, SMALLEST_BASE * max_lr), LARGEST_BASE * max_lr)
    return Rates(base_lr=base_lr, max_lr=max_lr, suggested_lr=CONSTANT_OVER_MAX * max_lr)
