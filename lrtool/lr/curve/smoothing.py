"""Smoothing of a range test's losses: without lag, capped, and not moved by outliers. Pure."""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lrtool.results import Curve

Losses = NDArray[np.float64]

SMOOTHING_SPAN = 0.13
CAP_SIGMAS = 2.0
OUTLIER_SIGMAS = 4.0
OUTLIER_NEIGHBOURS = 5
MIN_POINTS_TO_SMOOTH = 5
MAX_POINTS_BY_MATRIX = 2_000
"""A matrix has the square of the points: 32 MB of so many, and 80 GB of a ramp of 100,000."""
SIGMA_OVER_MAD = 1.4826
"""Standard deviation over median absolute deviation, for normally distributed noise."""


def smoothed_curve(lrs: Sequence[float], losses: Sequence[float]) -> Curve:
    """The curve with its losses smoothed, in the losses' unit."""
    smooth = smoothed(np.asarray(losses, dtype=np.float64))
    return Curve(lr=tuple(map(float, lrs)), loss=tuple(map(float, losses)), smoothed_loss=tuple(map(float, smooth)))


def median_curve(curves: Sequence[Curve]) -> Curve:
    """The median over repeats at each LR, as far as the shortest of them goes."""
    count = min(len(curve.lr) for curve in curves)
    loss = np.median([curve.loss[:count] for curve in curves], axis=0)
    return smoothed_curve(curves[0].lr[:count], list(loss))


def smoothed(losses: Losses) -> Losses:
    """Losses of equally spaced points, smoothed without lag; neither an explosion nor an outlier moves its neighbours."""
    level, relative = tamed(losses)
    return level + smooth_columns(relative)


def tamed(losses: Losses) -> tuple[float, Losses]:
    """The initial level, and the losses relative to it, capped and with their outliers drawn in.

    An explosion is capped first, so that it does not leak leftwards. Relative, so that a loss of 1e6 + x keeps x's digits.
    """
    level = float(np.median(losses[: head_length(len(losses))]))
    return level, without_outliers(cap(losses - level))


def smooth_columns(losses: Losses) -> Losses:
    """Each column (or the one dimension there is), local-quadratic over SMOOTHING_SPAN of the points."""
    count, span = len(losses), span_of(len(losses))
    if count < MIN_POINTS_TO_SMOOTH:
        return losses.copy()
    if count > MAX_POINTS_BY_MATRIX:
        return by_moments(losses, span)
    result: Losses = smoothing_matrix(count, span) @ losses
    return result


def span_of(count: int) -> int:
    """How many neighbours a smoothed point is made of."""
    return max(5, round(SMOOTHING_SPAN * count))


def head_length(count: int) -> int:
    """How many points show the level before anything happens."""
    return max(3, count // 20)


def cap(losses: Losses) -> Losses:
    """Losses more than two sigma above the initial level, cut off there: how high an explosion goes says nothing."""
    head = losses[: max(3, len(losses) // 10)]
    level = float(np.median(head))
    spread = SIGMA_OVER_MAD * float(np.median(np.abs(head - level)))
    return np.minimum(losses, level + CAP_SIGMAS * spread)


def without_outliers(losses: Losses) -> Losses:
    """Single losses far off the median of their neighbours, drawn in to four of the neighbourhood's sigmas.

    Downwards as well as upwards (Hampel's filter: unlike residuals of a smoothed curve, the median is not moved by them).
    """
    count = len(losses)
    if count < 4 * OUTLIER_NEIGHBOURS:  # too few to tell an outlier from a slope
        return losses
    middle = running_median(losses, OUTLIER_NEIGHBOURS)
    sigma = SIGMA_OVER_MAD * running_median(np.abs(losses - middle), span_of(count) // 2)
    return np.clip(losses, middle - OUTLIER_SIGMAS * sigma, middle + OUTLIER_SIGMAS * sigma)


def running_median(values: Losses, half: int) -> Losses:
    """The median over `half` neighbours to each side, mirrored at the ends."""
    padded = np.pad(values, half, mode="reflect").tolist()
    window = sorted(padded[: 2 * half])
    result = np.empty_like(values)
    for i in range(len(values)):
        insort(window, padded[i + 2 * half])
        result[i] = window[half]
        del window[bisect_left(window, padded[i])]
    return result


def by_moments(values: Losses, span: int) -> Losses:
    """What `smoothing_matrix` makes of each column, without the matrix.

    The parabola around a point follows from the moments of its weights, and from those of the weighted values, which are
    convolutions.
    """
    count, half = len(values), max(span / 2, 2.5)
    reach = math.floor(half)
    offset = np.arange(-reach, reach + 1) / (half + 1)
    kernels = (1 - np.abs(offset) ** 3) ** 3 * offset ** np.arange(5)[:, None]
    sums, index = np.pad(np.cumsum(kernels, axis=1), ((0, 0), (1, 0))), np.arange(count)
    begin, end = np.maximum(reach - index, 0), np.minimum(reach + count - index, 2 * reach + 1)
    moments = (sums[:, end] - sums[:, begin])[np.add.outer(range(3), range(3))].transpose(2, 0, 1)
    size = count + 2 * reach
    spectra = np.fft.rfft(kernels[:3, ::-1], size)
    result = np.empty_like(values)
    for into, column in zip(result.reshape(count, -1).T, values.reshape(count, -1).T, strict=True):
        weighted = np.fft.irfft(np.fft.rfft(column, size) * spectra, size)[:, reach : reach + count]
        into[:] = np.linalg.solve(moments, weighted.T[..., None])[:, 0, 0]
    return result


@lru_cache(maxsize=16)
def smoothing_matrix(count: int, span: int) -> Losses:
    """Local quadratic regression over `span` neighbours (Cleveland 1979, LOESS), tricube weights, equal spacing: a linear map.

    A row a point of `count`, so that many curves cost one product.
    """
    half = max(span / 2, 2.5)
    matrix = np.zeros((count, count))
    for i in range(count):
        low, high = max(0, math.ceil(i - half)), min(count, math.floor(i + half) + 1)
        offset = np.arange(low, high) - i
        weight = (1 - (np.abs(offset) / (half + 1)) ** 3) ** 1.5
        design = np.stack([np.ones(len(offset)), offset, offset**2], axis=1)
        matrix[i, low:high] = np.linalg.pinv(design * weight[:, None])[0] * weight
    return matrix
