"""What a reduction on CUDA allocates for itself where it splits one output's inputs over several thread blocks. Pure.

A restatement of `setReduceConfig` and `ReduceConfig` in ATen/native/cuda/Reduce.cuh, as far as sizes depend on it. Sums over
the rows of a matrix (gradients of biases and of norms' weights) use tens of MiB that way for a moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from lrtool.memory.gpus import Multiprocessors

WARP = 32
MAX_THREADS = 512
MAX_VECTOR = 4
MIN_VALUES_PER_THREAD = 16
MAX_VALUES_PER_THREAD = 256
MIN_VECTORIZED_INPUTS = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One dimension of a reduction's input: elements, stride in elements, and whether it is reduced."""

    size: int
    stride: int
    is_reduced: bool


def scratch_bytes(
    sizes: Sequence[int],
    strides: Sequence[int],
    reduced: Sequence[int],
    *,
    accumulator_bytes: int,
    gpu: Multiprocessors,
) -> tuple[int, ...]:
    """Bytes of the staging buffer and of the semaphores; empty where no output is split.

    `sizes` and `strides` (elements) are the input's, `reduced` its dimensions that are summed over (negative ones count
    from the end; none of them means all), `accumulator_bytes` the size of what partial results are kept in.
    """
    dims = {dim % len(sizes) for dim in reduced} if sizes and reduced else set(range(len(sizes)))
    axes = coalesced(
        [Axis(size=n, stride=s, is_reduced=i in dims) for i, (n, s) in enumerate(zip(sizes, strides, strict=True))]
    )
    if not axes or 0 in sizes or not axes[0].is_reduced:
        return ()
    return _split(axes, accumulator_bytes, gpu)


def coalesced(axes: Sequence[Axis]) -> list[Axis]:
    """Reduced axes first, then by stride; neighbours that one walk covers become one, as TensorIterator does it."""
    merged: list[Axis] = []
    for axis in sorted((a for a in axes if a.size != 1), key=lambda a: (not a.is_reduced, a.stride)):
        last = merged[-1] if merged else None
        if last and last.is_reduced == axis.is_reduced and last.stride * last.size == axis.stride:
            merged[-1] = Axis(size=last.size * axis.size, stride=last.stride, is_reduced=last.is_reduced)
        else:
            merged.append(axis)
    return merged


def _split(axes: Sequence[Axis], accumulator_bytes: int, gpu: Multiprocessors) -> tuple[int, ...]:
    kept = [axis for axis in axes if not axis.is_reduced]
    num_inputs, num_outputs = prod(a.size for a in axes if a.is_reduced), prod(a.size for a in kept)
    along_inputs = not kept or axes[0].stride < kept[0].stride
    vector = 1 if along_inputs else _output_vector(axes, kept[0])
    width, height = _block(_first_dimension(axes, along_inputs, num_inputs, num_outputs) // vector,
                           num_outputs if along_inputs else num_inputs, vector)  # fmt: skip
    step_input, step_output = (width, 1) if along_inputs else (1, width)
    per_thread = _up(num_inputs, step_input)
    if per_thread < min(height * 16, MAX_VALUES_PER_THREAD):
        return ()
    per_thread = _up(num_inputs, step_input * height)
    grid = _up(num_outputs // vector, step_output)
    target = gpu.count * (gpu.max_threads // (width * height))
    if per_thread < MAX_VALUES_PER_THREAD or grid > target:
        return ()
    blocks = max(
        min(_up(target, grid), _up(per_thread, MIN_VALUES_PER_THREAD)), _up(per_thread, MAX_VALUES_PER_THREAD)
    )  # fmt: skip
    if blocks <= 1:
        return ()
    staging = accumulator_bytes * num_outputs * blocks * (1 if along_inputs else width * vector)
    return staging, 4 * grid


def _first_dimension(axes: Sequence[Axis], along_inputs: bool, num_inputs: int, num_outputs: int) -> int:
    """What a block's width runs over: the inputs (four at once where they lie side by side), or the outputs."""
    if not along_inputs:
        return num_outputs
    is_vectorized = len(axes) == 1 and axes[0].stride == 1 and num_inputs > MIN_VECTORIZED_INPUTS
    return num_inputs // MAX_VECTOR if is_vectorized else num_inputs


def _output_vector(axes: Sequence[Axis], fastest: Axis) -> int:
    """How many neighbouring outputs one thread takes: `get_output_vec_size`."""
    if fastest.stride != 1:
        return 1
    vector = MAX_VECTOR
    for number in (fastest.size, *(axis.stride for axis in axes if axis is not fastest)):
        while number % vector:
            vector //= 2
    return vector


def _block(dim0: int, dim1: int, vector: int) -> tuple[int, int]:
    """A block's width and height: `set_block_dimension`."""
    most = MAX_THREADS // vector
    wide, high = (_last_power_of_two(dim) if dim < most else most for dim in (dim0, dim1))
    height = min(high, most // min(wide, WARP))
    return min(wide, most // height), height


def _last_power_of_two(value: int) -> int:
    return 1 << max(value.bit_length() - 1, 0)


def _up(value: int, divisor: int) -> int:
    return -(-value // divisor)
