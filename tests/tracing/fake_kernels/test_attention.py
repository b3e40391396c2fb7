"""Which attention kernel runs, by card, release and call: hand-worked from sdp_utils.cpp of each release."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lrtool.tracing.fake_cuda.gpu import FakeGpu, bundled_cudnn
from lrtool.tracing.fake_kernels.attention import Build, Call, candidates

T4, A100, RTX3090, H100, B200, RTX5090 = (7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0)
HALF, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32


def build(capability: tuple[int, int], torch_version: tuple[int, int] = (2, 13), cudnn: int | None = None) -> Build:
    cudnn_version = cudnn or bundled_cudnn(torch_version)
    return Build(capability=capability, torch_version=torch_version, cudnn_version=cudnn_version)


def tensor(*shape: int, dtype: torch.dtype = HALF, requires_grad: bool = False) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta", requires_grad=requires_grad)


def call(*shape: int, dtype: torch.dtype = HALF, **more: Any) -> Call:
    x = tensor(*(shape or (4, 12, 128, 64)), dtype=dtype, requires_grad=more.pop("trains", False))
    return Call(**{"query": x, "key": x, "value": x} | more)


def mask(*shape: int, dtype: torch.dtype = HALF, requires_grad: bool = False) -> Tensor:
    return tensor(*(shape or (4, 1, 128, 128)), dtype=dtype, requires_grad=requires_grad)


@pytest.mark.parametrize(
    ("capability", "dtype", "expected"),
    [
        (T4, HALF, "efficient"), (T4, BF16, "math"), (T4, FP32, "efficient"), ((6, 0), HALF, "efficient"),
        (A100, HALF, "flash"), (A100, BF16, "flash"), (A100, FP32, "efficient"), (A100, torch.float64, "math"),
        (H100, BF16, "cudnn"), (B200, HALF, "cudnn"), (RTX5090, BF16, "flash"), ((13, 0), HALF, "math"),
    ],
)  # fmt: skip
def test_the_usual_kernel_of_a_card(capability: tuple[int, int], dtype: torch.dtype, expected: str) -> None:
    assert candidates(call(dtype=dtype), build(capability))[0] == expected


@pytest.mark.parametrize(
    ("torch_version", "cudnn", "expected"),
    [
        ((2, 6), 90100, "flash"), ((2, 8), 91002, "flash"), ((2, 9), 91002, "cudnn"), ((2, 10), 91002, "flash"),
        ((2, 10), 91501, "cudnn"), ((2, 11), 91900, "cudnn"), ((2, 13), 92000, "cudnn"),
    ],
)  # fmt: skip
def test_on_hopper_it_depends_on_the_release(torch_version: tuple[int, int], cudnn: int, expected: str) -> None:
    """pytorch#162073 made cuDNN the first in 2.9, and #169849 since 2.10 only after 9.15.0."""
    assert candidates(call(dtype=BF16), build(H100, torch_version, cudnn))[0] == expected


def test_a_release_brings_its_cudnn() -> None:
    assert [bundled_cudnn((2, minor)) for minor in (5, 6, 9, 10, 11, 13)] == [90100, 90100, 91002, 91002, 91900, 92000]
    assert FakeGpu(capability=H100, torch_version=(2, 10)).build.cudnn_version == 91002
    assert FakeGpu(cudnn_version=91501, torch_version=(2, 10)).build.cudnn_version == 91501


def test_the_environment_can_move_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_CUDNN_SDPA_DEPRIORITIZED", "1")
    assert candidates(call(), build(H100))[0] == "flash"
    monkeypatch.setenv("TORCH_CUDNN_SDPA_PREFERRED", "1")
    assert candidates(call(), build(H100, (2, 8)))[0] == "cudnn"


def test_a_mask_leaves_flash_out() -> None:
    assert candidates(call(mask=mask()), build(A100)) == ("efficient", "math")
    assert candidates(call(mask=mask()), build(T4)) == ("efficient", "math")
    assert candidates(call(mask=mask()), build(H100)) == ("cudnn", "efficient", "math")
    assert candidates(call(mask=mask(requires_grad=True)), build(H100)) == ("efficient", "math")
    assert candidates(call(mask=mask(1, 4, 1, 128, 128)), build(H100)) == ("efficient", "math"), "five dimensions"


def test_a_mask_whose_elements_do_not_lie_side_by_side_leaves_math() -> None:
    expanded = mask(4, 1, 128, 1).expand(4, 1, 128, 128)
    assert [candidates(call(mask=expanded), build(gpu)) for gpu in (T4, A100, H100)] == [("math",)] * 3


@pytest.mark.parametrize(
    ("capability", "dtype", "width", "fits"),
    [
        (T4, HALF, 60, False), (T4, HALF, 64, True), (T4, FP32, 61, True), ((6, 0), HALF, 61, True),
        (A100, FP32, 61, False), (A100, FP32, 60, True), (A100, HALF, 60, False), (A100, HALF, 320, True),
    ],
)  # fmt: skip
def test_efficient_attention_wants_aligned_heads_where_there_are_tensor_cores(
    capability: tuple[int, int], dtype: torch.dtype, width: int, fits: bool
) -> None:
    assert ("efficient" in candidates(call(2, 4, 32, width, dtype=dtype), build(capability))) is fits


def test_flash_attention_takes_any_width_up_to_256() -> None:
    assert candidates(call(2, 4, 32, 61), build(A100)) == ("flash", "math")
    assert candidates(call(2, 4, 32, 264), build(A100)) == ("efficient", "math")


@pytest.mark.parametrize(
    ("capability", "width", "dropout", "trains", "fits"),
    [
        (RTX3090, 224, 0.0, True, False), (RTX3090, 256, 0.0, True, True), (RTX3090, 256, 0.1, True, False),
        (RTX3090, 224, 0.0, False, True), (RTX5090, 224, 0.0, True, False), (A100, 224, 0.1, True, True),
        ((8, 7), 224, 0.0, True, False), (RTX3090, 192, 0.1, True, True),
    ],
)  # fmt: skip
def test_wide_heads_are_not_trained_with_flash_on_cards_with_little_shared_memory(
    capability: tuple[int, int], width: int, dropout: float, trains: bool, fits: bool
) -> None:
    asked = call(2, 4, 32, width, dropout=dropout, trains=trains)
    assert ("flash" in candidates(asked, build(capability))) is fits


def test_grouped_heads() -> None:
    query, key = tensor(2, 8, 64, 64), tensor(2, 2, 64, 64)
    grouped: dict[str, Any] = {"query": query, "key": key, "value": key}
    assert candidates(call(**grouped, enable_gqa=True), build(A100)) == ("flash", "math")
    assert candidates(call(**grouped), build(A100)) == ("math",)
    assert candidates(call(**grouped, enable_gqa=True, mask=mask(2, 1, 64, 64)), build(A100)) == ("math",)
    assert candidates(call(**grouped, enable_gqa=True, mask=mask(2, 1, 64, 64)), build(H100)) == ("cudnn", "math")


@pytest.mark.parametrize(
    ("torch_version", "cudnn", "dropout", "expected"),
    [
        ((2, 13), 92000, 0.1, "flash"), ((2, 13), 92000, 0.125, "cudnn"), ((2, 11), 91900, 0.1, "cudnn"),
        ((2, 9), 91300, 0.125, "flash"), ((2, 9), 91002, 0.1, "cudnn"),
    ],
)  # fmt: skip
def test_cudnn_takes_some_dropout(torch_version: tuple[int, int], cudnn: int, dropout: float, expected: str) -> None:
    """Multiples of 1/16 since 2.12 (pytorch#174245), none with cuDNN 9.11 to 9.13 (#163903)."""
    assert candidates(call(dropout=dropout), build(H100, torch_version, cudnn))[0] == expected


@pytest.mark.parametrize(
    ("widths", "torch_version", "expected"),
    [((128, 128), (2, 13), "cudnn"), ((192, 128), (2, 13), "cudnn"), ((192, 192), (2, 13), "flash"),
     ((256, 256), (2, 9), "cudnn"), ((256, 256), (2, 13), "flash")],
)  # fmt: skip
def test_cudnn_takes_narrow_heads(widths: tuple[int, int], torch_version: tuple[int, int], expected: str) -> None:
    query, value = (tensor(2, 4, 64, width) for width in widths)
    asked = Call(query=query, key=query, value=value)
    assert candidates(asked, build(H100, torch_version))[0] == expected


def test_an_empty_or_single_key_and_dimensions() -> None:
    query = tensor(2, 4, 64, 64)
    one, none = tensor(2, 4, 1, 64), tensor(2, 4, 0, 64)
    assert candidates(Call(query=query, key=one, value=one), build(H100))[0] == "flash"
    assert candidates(Call(query=query, key=none, value=none), build(H100)) == ("math",)
    assert candidates(call(8, 64, 64), build(H100)) == ("math",)
    assert candidates(call(is_causal=True, key=tensor(4, 12, 64, 64)), build(A100)) == ("efficient", "math")


def test_what_the_user_switched_off_or_asked_for_first() -> None:
    with sdpa_kernel(SDPBackend.MATH):
        assert candidates(call(), build(A100)) == ("math",)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        assert candidates(call(mask=mask()), build(A100)) == ()
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
        assert candidates(call(), build(H100)) == ("efficient", "flash")
    torch.use_deterministic_algorithms(True)
    try:
        assert candidates(call(), build(H100))[0] == "flash"
        torch.use_deterministic_algorithms(True, warn_only=True)
        assert candidates(call(), build(H100))[0] == "cudnn"
    finally:
        torch.use_deterministic_algorithms(False)
