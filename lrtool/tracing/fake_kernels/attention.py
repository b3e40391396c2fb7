"""Which kernel `scaled_dot_product_attention` runs on a GPU that is not there.

A restatement of `select_sdp_backend` and its checks in ATen/native/transformers/cuda/sdp_utils.cpp and sdp_utils_cpp.h, for
dense tensors, as torch 2.6 to 2.13 have them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Version = tuple[int, int]
_NAMES = {0: "math", 1: "flash", 2: "efficient", 3: "cudnn"}
"""By their number in at::SDPBackend."""
_DEFAULT_ORDER = (1, 2, 0, 3)
_HALF = (torch.float16, torch.bfloat16)
_SWITCHES = {"0": False, "1": True}
_OLDEST, _NEWEST = (8, 0), (12, 1)
"""The compute capabilities that flash and cuDNN attention are made for; efficient attention begins with 5.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The GPU's compute capability, and what is installed: the releases of torch and of cuDNN (9.20.0 is 92000)."""

    capability: Version
    torch_version: Version
    cudnn_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of `scaled_dot_product_attention`."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None = None
    dropout: float = 0.0
    is_causal: bool = False
    enable_gqa: bool = False

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.query, self.key, self.value

    @property
    def needs_gradient(self) -> bool:
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in self.tensors)

    @property
    def num_scores(self) -> int:
        """Of every query for every key."""
        return self.query.numel() // max(1, self.query.shape[-1]) * self.key.shape[-2]


def candidates(call: Call, build: Build) -> tuple[str, ...]:
    """The kernels that can run, the one that does first: "cudnn", "flash", "efficient" or "math", which takes anything."""
    fitting = []
    for name in _order(build):
        if _FITS[name](call, build):
            fitting.append(name)
            if name == "math":
                break
    return tuple(fitting)


def _order(build: Build) -> Iterator[str]:
    """`priority_order`: what `sdpa_kernel(..., set_priority=True)` asked for, else cuDNN first where torch prefers it."""
    told = getattr(torch._C, "_get_sdp_priority_order", lambda: _DEFAULT_ORDER)()
    order = tuple(number for number in told if number in _NAMES)
    if order == _DEFAULT_ORDER and _prefers_cudnn(build):
        order = (3, 1, 2, 0)
    return (_NAMES[number] for number in order)


def _prefers_cudnn(build: Build) -> bool:
    """`check_prefer_cudnn_attention`: asked for up to torch 2.8 (pytorch#138522), the default of 2.9 on datacenter Hopper and
    Blackwell (#162073), and since 2.10 only with a cuDNN after 9.15.0 (#169849).
    """
    preferred = _SWITCHES.get(os.environ.get("TORCH_CUDNN_SDPA_PREFERRED", ""))
    deprioritized = _SWITCHES.get(os.environ.get("TORCH_CUDNN_SDPA_DEPRIORITIZED", ""))
    major, minor = build.capability
    if build.torch_version < (2, 9):
        return preferred is True and major >= 9 and minor == 0
    if build.torch_version < (2, 10):
        return preferred is not False and major in (9, 10) and minor == 0 and build.cudnn_version >= 90900
    return deprioritized is not True and major in (9, 10) and minor in (0, 3) and build.cudnn_version > 91500


def _fits_math(_call: Call, _build: Build) -> bool:
    return bool(torch.backends.cuda.math_sdp_enabled())


def _fits_cudnn(call: Call, build: Build) -> bool:
    return (
        torch.backends.cuda.cudnn_sdp_enabled()
        and _OLDEST <= build.capability <= _NEWEST
        and _has_four_dimensions(call)
        and _has_one_dtype(call, _HALF)
        and _has_a_plain_mask(call)
        and _heads_fit(call, grouped=True, same_key_value=False)
        and _is_dense(call, ignores_width_of_one=True)
        and _fits_cudnn_shapes(call, build)
        and _fits_cudnn_dropout(call, build)
        and not _is_deterministic()
    )


def _fits_cudnn_shapes(call: Call, build: Build) -> bool:
    """`check_cudnn_tensor_shapes`."""
    widths = call.query.shape[-1], call.value.shape[-1]
    is_datacenter = build.capability == (9, 0) or build.capability[0] == 10
    most = 128
    if build.torch_version < (2, 10):
        if build.torch_version >= (2, 9) and build.capability == (9, 0) and build.cudnn_version >= 91000:
            most = 256
    elif is_datacenter and widths == (192, 128):
        most = 192
    times = call.query.shape[-2], call.key.shape[-2]
    return max(widths) <= most and all(width % 8 == 0 for width in widths) and times[1] != 1


def _fits_cudnn_dropout(call: Call, build: Build) -> bool:
    """None at all between cuDNN 9.11 and 9.14 (pytorch#163903); multiples of 1/16 since torch 2.12 (#174245)."""
    if call.dropout == 0:
        return True
    is_broken = build.torch_version >= (2, 9) and 91100 < build.cudnn_version < 91400
    is_rounded = build.torch_version >= (2, 12) and not (call.dropout * 16).is_integer()
    return not is_broken and not is_rounded and call.query.shape[-2] != 1


def _is_deterministic() -> bool:
    is_warning = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled() and not is_warning


def _fits_flash(call: Call, build: Build) -> bool:
    width = call.query.shape[-1] if call.query.dim() else 0
    return (
        torch.backends.cuda.flash_sdp_enabled()
        and _OLDEST <= build.capability <= _NEWEST
        and _has_four_dimensions(call)
        and call.mask is None
        and all(tensor.shape[-1] == width for tensor in call.tensors)
        and width <= 256
        and not (call.is_causal and call.query.shape[-2] != call.key.shape[-2])
        and _has_one_dtype(call, _HALF)
        and _heads_fit(call, grouped=True)
        and _is_dense(call, ignores_width_of_one=True)
        and not (call.needs_gradient and _is_too_wide_to_train(call, build))
    )


def _is_too_wide_to_train(call: Call, build: Build) -> bool:
    """Of cards with little shared memory: heads of 193 to 224, and of more with dropout."""
    has_little = (8, 6) <= build.capability <= (8, 9) or build.capability in ((12, 0), (12, 1))
    width = call.query.shape[-1]
    return has_little and width > 192 and (width <= 224 or call.dropout > 0)


def _fits_efficient(call: Call, build: Build) -> bool:
    dtypes = (*_HALF, torch.float32) if build.capability >= _OLDEST else (torch.float16, torch.float32)
    alignment = _alignment(call, build)
    return (
        torch.backends.cuda.mem_efficient_sdp_enabled()
        and (5, 0) <= build.capability <= _NEWEST
        and _has_four_dimensions(call)
        and _has_one_dtype(call, dtypes)
        and call.query.shape[-1] == call.key.shape[-1]
        and all(tensor.shape[-1] > 0 and tensor.shape[-1] % alignment == 0 for tensor in (call.query, call.value))
        and _heads_fit(call, grouped=False)
        and _is_dense(call, ignores_width_of_one=False)
    )


def _alignment(call: Call, build: Build) -> int:
    """`minimum_gemm_alignment`: of heads, in elements; tensor cores take 128 bits at once."""
    is_half = call.query.dtype in _HALF
    has_tensor_cores = build.capability >= (8, 0) or (build.capability >= (7, 0) and is_half)
    return (8 if is_half else 4) if has_tensor_cores else 1


def _has_four_dimensions(call: Call) -> bool:
    return all(tensor.dim() == 4 for tensor in call.tensors)


def _has_one_dtype(call: Call, allowed: tuple[torch.dtype, ...]) -> bool:
    return call.query.dtype in allowed and all(tensor.dtype == call.query.dtype for tensor in call.tensors)


def _has_a_plain_mask(call: Call) -> bool:
    """`check_attn_mask_shape`: no gradient, two or four dimensions, each whole or 1."""
    mask = call.mask
    if mask is None:
        return True
    if mask.requires_grad or mask.dim() not in (2, 4):
        return False
    whole = (*call.query.shape[:3], call.key.shape[2])[-mask.dim() :]
    return all(size in (1, full) for size, full in zip(mask.shape, whole, strict=True))


def _heads_fit(call: Call, *, grouped: bool, same_key_value: bool = True) -> bool:
    """`check_batch_size_and_num_heads_dense`."""
    query, key, value = (tensor.shape[1] for tensor in call.tensors)
    if len({tensor.shape[0] for tensor in call.tensors}) > 1:
        return False
    if not (call.enable_gqa and grouped):
        return query == key == value
    if 0 in (key, value) or (same_key_value and key != value):
        return False
    return query % key == 0 and query % value == 0


def _is_dense(call: Call, *, ignores_width_of_one: bool) -> bool:
    """Something to look at, and elements side by side, in the mask too."""
    if 0 in (call.query.shape[-2], call.key.shape[-2]):
        return False
    side_by_side = all(tensor.stride(-1) == 1 for tensor in call.tensors)
    if ignores_width_of_one and call.query.shape[-1] == 1:
        side_by_side = True
    return side_by_side and (call.mask is None or call.mask.stride(-1) == 1)


_FITS = {"math": _fits_math, "cudnn": _fits_cudnn, "flash": _fits_flash, "efficient": _fits_efficient}
