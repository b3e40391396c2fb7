"""The copies that a matrix product on CUDA makes of operands whose strides cuBLAS cannot take. Pure.

A restatement of `prepare_matrix_for_cublas` and `prepare_batch_matrix_for_cublas` in ATen/native/cuda/Blas.cpp. An expanded
gradient, as the backward of a sum hands on, is the usual case.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, kw_only=True, slots=True)
class Operand:
    """A matrix (2 dimensions) or a batch of them (3); strides in elements."""

    sizes: Sequence[int]
    strides: Sequence[int]
    element_bytes: int

    @property
    def num_bytes(self) -> int:
        return prod(self.sizes) * self.element_bytes


def copied_bytes(first: Operand, second: Operand) -> tuple[int, ...]:
    """Bytes of each copy that a product of the two makes, in order; both are freed when it returns.

    The result is taken to be contiguous, as it is where torch makes it.
    """
    if len(first.sizes) == 2:
        return tuple(each.num_bytes for each in (first, second) if not _fits(each))
    rows, inner, columns = first.sizes[1], first.sizes[2], second.sizes[2]
    if columns == 1:
        wanted = ((first, 1, rows, inner), (second, 1, inner, columns))
    else:
        wanted = ((second, 2, columns, inner), (first, 2, inner, rows))
    return tuple(each.num_bytes for each, *layout in wanted if not _fits_batch(each, *layout))


def _fits(matrix: Operand) -> bool:
    (rows, columns), (down, across) = matrix.sizes, matrix.strides
    return _is_dense(matrix) or (down == 1 and across >= max(1, rows)) or (across == 1 and down >= max(1, columns))


def _is_dense(matrix: Operand) -> bool:
    """Non-overlapping and dense: some order of the dimensions walks through memory without a gap."""
    return _has_no_gap(sorted(zip(matrix.sizes, matrix.strides, strict=True), key=lambda axis: (axis[1], axis[0])))


def _fits_batch(batch: Operand, fast: int, leading_size: int, fast_size: int) -> bool:
    """Whether the matrices lie side by side in dimension `fast`, or in the other, with room between their lines."""
    leading = 3 - fast
    along, across = batch.strides[fast], batch.strides[leading]
    if (along == 1 and across >= max(1, leading_size)) or (across == 1 and along >= max(1, fast_size)):
        return True
    is_contiguous = _has_no_gap(zip(reversed(batch.sizes), reversed(batch.strides), strict=True))
    return along != 0 and across != 0 and is_contiguous


def _has_no_gap(axes: Iterable[tuple[int, int]]) -> bool:
    """Whether axes of (size, stride), the innermost first, walk through memory one element at a time."""
    expected = 1
    for size, stride in axes:
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
