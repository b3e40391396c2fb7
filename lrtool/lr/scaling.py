"""How the learning rate scales with the batch size: a power law fitted to LRs that were measured at several sizes. Pure."""

import math
from collections.abc import Sequence
from statistics import NormalDist

from lrtool.results import PowerLaw

STUDENT_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""For 1 to 10 degrees of freedom."""


def fit_power_law(sizes: Sequence[float], lrs: Sequence[float]) -> PowerLaw | None:
    """LR = factor * size ** exponent, by least squares of log LR over log size, with the exponent's 95 % interval.

    One LR for each size, sizes repeat where several seeds were measured; None where there are not two different sizes.
    The interval is Student's, from the scatter around the line: it holds what seeds and a bend in the law add, and is
    None with fewer than three LRs. Raises ValueError for a size or an LR that is not positive.
    """
    if min((*sizes, *lrs), default=0.0) <= 0:
        raise ValueError("sizes and learning rates are positive")
    x, y = [math.log(size) for size in sizes], [math.log(lr) for lr in lrs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((each - mean_x) ** 2 for each in x)
    if spread < 1e-12:
        return None
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    half = _half_width(x, y, slope=slope, spread=spread)
    return PowerLaw(
        exponent=slope,
        low=None if half is None else slope - half,
        high=None if half is None else slope + half,
        factor=math.exp(mean_y - slope * mean_x),
        num_points=len(x),
    )


def _half_width(x: Sequence[float], y: Sequence[float], *, slope: float, spread: float) -> float | None:
    freedom = len(x) - 2
    if freedom < 1:
        return None
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    left = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    return student_975(freedom) * math.sqrt(left / freedom / spread)


def student_975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: tabled, then by its expansion (Abramowitz and Stegun 26.7.5), within 0.1 %."""
    if freedom <= len(STUDENT_975):
        return STUDENT_975[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
