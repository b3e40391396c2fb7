"""Device memory that no trace sees: workspaces of libraries and scratch inside kernels, by operator, GPU and torch version.

What a public source gives a formula for is exact, the rest an estimate between bounds; nothing here was measured by lrtool.
The scratch of reductions agrees with public snapshots of real GPU runs to the byte. What is known to be missing or only
estimated stands in `UNKNOWN`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrtool.memory.gpus import Multiprocessors
from lrtool.tracing.workspaces.attention import cudnn_backward, efficient_backward
from lrtool.tracing.workspaces.convolutions import convolution, convolution_backward
from lrtool.tracing.workspaces.estimates import Estimate
from lrtool.tracing.workspaces.matrix_products import Operand, copied_bytes
from lrtool.tracing.workspaces.platform import KIB, Platform
from lrtool.tracing.workspaces.recurrent import backward_layers, forward_layers, reserve, workspace
from lrtool.tracing.workspaces.reductions import scratch_bytes
from lrtool.tracing.workspaces.sorting import embedding_backward, topk, unique

UNKNOWN = {
    "cuDNN convolution": "an estimate, for cuDNN chooses by heuristics; tens of GiB were asked for in pytorch#31500",
    "cuDNN batch norm, channels last": "the size of its reserve is not documented: up to a bit for each input is allowed for",
    "cuBLASLt": "1 to 32 MiB (pytorch#120925) where TORCH_CUBLASLT_UNIFIED_WORKSPACE keeps it apart from cuBLAS",
    "cuDNN recurrent layers": "reserve and workspace are estimates from two public figures, pytorch#2895",
    "cuDNN attention backward": "an estimate; up to 256 MiB more, cudnn-frontend#398",
    "cumsum, nonzero": "cub's temporary storage; that of sort is known for many long segments alone",
    "topk, unique, embedding backward": "cub's part of it is an estimate",
    "torch.linalg": "what cuSOLVER and MAGMA take",
}
_REDUCTIONS = {"sum": 1, "mean": 1, "nansum": 1, "amax": 1, "amin": 1, "linalg_vector_norm": 2}
"""Operators on gpu_reduce_kernel that keep one number for each output, and where their dimensions stand."""
_PRODUCTS = ("addmm", "baddbmm", "addmv")
_HANDLED = ("mm", "bmm", "mv", "dot", "vdot", "_addmm_activation", "_scaled_mm", "_int_mm", "linalg_solve_triangular",
            "triangular_solve")  # fmt: skip
_GEMMS = frozenset({*_HANDLED, *_PRODUCTS, *(f"{name}_" for name in _PRODUCTS)})
"""Operators that take a cuBLAS handle, and a workspace with it: `getCurrentCUDABlasHandle`."""
_OPERANDS = {"mm": 0, "addmm": 1, "addmm_": 1, "_addmm_activation": 1, "bmm": 0, "baddbmm": 1, "baddbmm_": 1}
"""Where the two matrices, or batches of them, stand."""
_NO_OUTPUTS: Mapping[int, Estimate] = {}
_PER_CALL_SINCE = (2, 15)
_SORTED_ABOVE_INDICES = 3072
_SORTED_IN_PLACE = 4096
_SORTED_ALONE = 1_000_000
_FEWEST_SEGMENTS = 128


class HiddenCosts:
    """Answers for each operator, in the order they run, what its kernel allocates for itself."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._handles_with_workspace: set[tuple[int, int, bool]] = set()

    def of(
        self, operator: str, args: Sequence[Any], *, queue: tuple[int, int] = (0, 0), in_backward: bool = False
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Bytes of the requests that stay for good, and of those freed when the operator `operator` returns.

        `queue` is the device and its CUDA stream on which it runs.
        """
        if operator in _GEMMS:
            kept, passing = self._matrix_product((*queue, in_backward))
            return kept, (*_operand_copies(operator, args), *passing)
        if operator in _REDUCTIONS:
            return (), _reduction(args, _REDUCTIONS[operator], self._platform.multiprocessors)
        formula = _FORMULAS.get(operator)
        return (), () if formula is None else tuple(size for size in formula(args) if size)

    def estimates(self, operator: str, args: Sequence[Any]) -> tuple[Estimate, ...]:
        """What the kernel of `operator` takes besides, as far as it can be estimated; freed when the operator returns."""
        formula = _ESTIMATES.get(operator)
        return () if formula is None else formula(args)

    def _matrix_product(self, handle: tuple[int, int, bool]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Kept per stream and handle up to torch 2.14; since 2.15 taken for each call, pytorch#194311.

        Autograd's thread has a handle of its own: public traces show one workspace without backward, two with it.
        """
        size = self._platform.cublas_workspace_bytes
        if size == 0:
            return (), ()
        if self._platform.torch_version >= _PER_CALL_SINCE:
            return (), (size,)
        if handle in self._handles_with_workspace:
            return (), ()
        self._handles_with_workspace.add(handle)
        return (size,), ()


def estimated_outputs(operator: str, args: Sequence[Any]) -> Mapping[int, Estimate]:
    """Which outputs of `operator` have a size that is an estimate, by their position."""
    formula = _OUTPUTS.get(operator)
    return _NO_OUTPUTS if formula is None else {3: formula(args)}


def _operand_copies(operator: str, args: Sequence[Any]) -> tuple[int, ...]:
    at = _OPERANDS.get(operator)
    if at is None:
        return ()
    first, second = (
        Operand(sizes=tuple(each.shape), strides=each.stride(), element_bytes=each.element_size())
        for each in args[at : at + 2]
    )
    return copied_bytes(first, second)


def _reduction(args: Sequence[Any], dims_at: int, gpu: Multiprocessors) -> tuple[int, ...]:
    x, dims = args[0], args[dims_at] if len(args) > dims_at else None
    dims = [dims] if isinstance(dims, int) else dims if isinstance(dims, tuple | list) else []
    accumulator = max(4, x.element_size())  # half types are summed in float32
    return scratch_bytes(tuple(x.shape), x.stride(), dims, accumulator_bytes=accumulator, gpu=gpu)


def _softmax_backward(args: Sequence[Any]) -> list[int]:
    """`Tensor tmp = grad * output` in softmax_backward_cuda_out, ATen/native/cuda/SoftMax.cu."""
    gradient, output = args[0], args[1]
    return [output.numel() * max(gradient.element_size(), output.element_size())]


def _sorted_index_put(args: Sequence[Any]) -> list[int]:
    """Linear, sorted and original indices and a range of index_put_with_sort_kernel, and cub's byte: Indexing.cu.

    Seen so, to the byte, in public snapshots of real GPU runs. Without accumulation nothing is sorted.
    """
    is_accumulating = len(args) > 3 and bool(args[3])
    indices = [index for index in args[1] if index is not None]
    if not is_accumulating or not indices:
        return []
    count = max(index.numel() for index in indices)
    return [8 * count] * 4 + [1]


def _embedding_backward(args: Sequence[Any]) -> list[int]:
    """The sorted path of ATen/native/cuda/EmbeddingBackwardKernel.cu: indices, segments, partial sums."""
    gradient, indices, scale_by_frequency = args[0], args[1], bool(args[4]) if len(args) > 4 else False
    count, width = indices.numel(), gradient.shape[-1]
    if count <= _SORTED_ABOVE_INDICES and not scale_by_frequency:
        return []
    array = count * indices.element_size()
    return [array] * 6 + [8, 8] + [count * width * max(4, gradient.element_size())]


def _flash_backward(args: Sequence[Any]) -> list[int]:
    """softmax_d and dq_accum of flash_api.cpp's mha_bwd; with grouped heads, expanded dk and dv."""
    query, key = args[1], args[2]
    batch, heads, time, width = query.shape
    padded_time, padded_width = _up(time, 128), _up(width, 32 if width <= 128 else 64)
    scratch = [batch * heads * padded_time * 4, batch * padded_time * heads * padded_width * 4]
    if key.shape[1] != heads:
        scratch += [batch * key.shape[2] * heads * width * query.element_size()] * 2
    return scratch


def _contiguous_gradient(args: Sequence[Any]) -> list[int]:
    """`dY.contiguous()` in ATen/native/cuda/layer_norm_kernel.cu: of an expanded gradient, say."""
    return [] if args[0].is_contiguous() else [args[0].numel() * args[0].element_size()]


def _layer_norm_backward(args: Sequence[Any]) -> list[int]:
    """The gradient's copy, and partial sums of layer_norm_kernel.cu, for many more rows than columns only."""
    return [*_contiguous_gradient(args), *_partial_sums(args)]


def _partial_sums(args: Sequence[Any]) -> list[int]:
    x, shape = args[1], args[2]
    columns = math.prod(shape)
    rows = x.numel() // columns
    blocks = -(-columns // 32)
    if rows <= 64 * KIB or blocks >= 132 // 2:
        return []
    return [min(64 * KIB // 2 // blocks, -(-rows // 32)) * columns * x.element_size()] * 2


def _group_norm_backward(args: Sequence[Any]) -> list[int]:
    """ds, db, c2, c3 and c1 of ATen/native/cuda/group_norm_kernel.cu, in the accumulation type."""
    x, batch, channels, groups = args[1], args[5], args[6], args[8]
    element = max(4, x.element_size())
    return [batch * channels * element] * 2 + [batch * groups * element] * 2 + [batch * channels * element]


def _reduced_loss(args: Sequence[Any]) -> list[int]:
    """ATen/native/Loss.cpp computes the loss of every element before it reduces; reduction 0 is none."""
    import torch

    if len(args) > 2 and args[2] == 0:
        return []
    return [math.prod(torch.broadcast_shapes(args[0].shape, args[1].shape)) * args[0].element_size()]


def _segmented_sort(args: Sequence[Any]) -> list[int]:
    """Of many long segments: indices to be sorted along, and cub's alternate keys and values, in multiples of 256 bytes.

    `segmented_sort_pairs` of ATen/native/cuda/SortStable.cu, and cub's dispatch_radix_sort.cuh. Up to 4096 elements are
    sorted in place; few segments, or very long ones, are sorted by other kernels, whose scratch is not counted.
    """
    x, dim = args[0], args[1] if len(args) > 1 and isinstance(args[1], int) else -1
    length = x.shape[dim] if x.dim() else 0
    if not _SORTED_IN_PLACE < length < _SORTED_ALONE or x.numel() // length < _FEWEST_SEGMENTS:
        return []
    count = x.numel()
    return [8 * count, _up(count * x.element_size(), 256) + _up(8 * count, 256)]


def _foreach_norm(args: Sequence[Any]) -> list[int]:
    """One partial result for each chunk of 64 Ki elements: ATen/native/cuda/ForeachReduceOp.cu."""
    tensors = args[0]
    if not tensors:
        return []
    chunks = max(-(-tensor.numel() // (64 * KIB)) for tensor in tensors)
    return [len(tensors) * chunks * max(4, tensors[0].element_size())]


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _betas(args: Sequence[Any]) -> list[int]:
    """As many betas as there are alphas: `ctc_loss_backward_gpu_template` of ATen/native/cuda/LossCTC.cu."""
    alphas = args[6]
    return [alphas.numel() * alphas.element_size()]


_FORMULAS: dict[str, Callable[[Sequence[Any]], list[int]]] = {
    "embedding_dense_backward": _embedding_backward,
    "_scaled_dot_product_flash_attention_backward": _flash_backward,
    "native_layer_norm_backward": _layer_norm_backward,
    "_fused_rms_norm_backward": _contiguous_gradient,
    "native_group_norm_backward": _group_norm_backward,
    "mse_loss": _reduced_loss,
    "smooth_l1_loss": _reduced_loss,
    "huber_loss": _reduced_loss,
    "_foreach_norm": _foreach_norm,
    "sort": _segmented_sort,
    "_softmax_backward_data": _softmax_backward,
    "_ctc_loss_backward": _betas,
    "index_put": _sorted_index_put,
    "index_put_": _sorted_index_put,
    "_index_put_impl_": _sorted_index_put,
}


def _batch_norm_reserve(args: Sequence[Any]) -> Estimate:
    """What cuDNN keeps for backward of inputs with channels last: nothing that is documented, and a bit each at most."""
    x, is_training = args[0], bool(args[5])
    is_channels_last = x.dim() in (4, 5) and x.shape[1] > 1 and x.stride(1) == 1
    high = x.numel() // 8 if is_training and is_channels_last else 0
    return Estimate(what="reserve of batch norms", low_bytes=0, likely_bytes=0, high_bytes=high)


_OUTPUTS: dict[str, Callable[[Sequence[Any]], Estimate]] = {
    "_cudnn_rnn": lambda args: reserve(forward_layers(args)),
    "cudnn_batch_norm": _batch_norm_reserve,
}
_ESTIMATES: dict[str, Callable[[Sequence[Any]], tuple[Estimate, ...]]] = {
    "convolution": convolution,
    "convolution_backward": convolution_backward,
    "_scaled_dot_product_efficient_attention_backward": efficient_backward,
    "_scaled_dot_product_cudnn_attention_backward": cudnn_backward,
    "_unique2": unique,
    "topk": topk,
    "embedding_dense_backward": embedding_backward,
    "_cudnn_rnn": lambda args: (workspace(forward_layers(args)),),
    "_cudnn_rnn_backward": lambda args: (workspace(backward_layers(args)),) * 2,
}
