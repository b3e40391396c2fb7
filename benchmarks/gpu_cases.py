"""Single layers whose memory libraries decide, in shapes for which they choose different algorithms: one step of each.

A case takes part of a second on a GPU; in the time of one workload, hundreds tell what cuDNN and the attention kernels
take for themselves.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

Step = Callable[[], str | None]
HALF, SINGLE = torch.bfloat16, torch.float32


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """`prepare(device)` makes a step, forward and backward, which may tell what was chosen."""

    name: str
    prepare: Callable[[torch.device], Step]


def _letters(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.").replace("float", "f")


def _trained(layer: nn.Module, x: Tensor) -> Step:
    def step() -> None:
        out = layer(x)
        (out[0] if isinstance(out, tuple) else out).sum().backward()
        layer.zero_grad(set_to_none=True)
        x.grad = None

    return step


@dataclass(frozen=True, kw_only=True, slots=True)
class Convolution:
    """A convolution of `batch` images, or signals, or volumes of edge `size`."""

    batch: int
    inside: int
    outside: int
    size: int
    kernel: int
    more: tuple[tuple[str, int], ...] = ()
    dims: int = 2
    is_transposed: bool = False

    @property
    def name(self) -> str:
        more = "".join(f"-{name}{value}" for name, value in self.more)
        kind = f"{'deconv' if self.is_transposed else 'conv'}{self.dims}d"
        return f"{kind}-b{self.batch}-{self.inside}to{self.outside}-s{self.size}-k{self.kernel}{more}"

    def case(self, dtype: torch.dtype, *, channels_last: bool = False, tries: bool = False) -> Case:
        """`tries` lets cuDNN try its algorithms first, as torch.backends.cudnn.benchmark does."""

        def prepare(device: torch.device) -> Step:
            torch.backends.cudnn.benchmark = tries
            kinds: dict[tuple[int, bool], Any] = {
                (1, False): nn.Conv1d, (2, False): nn.Conv2d, (3, False): nn.Conv3d, (2, True): nn.ConvTranspose2d,
            }  # fmt: skip
            layer = kinds[self.dims, self.is_transposed](self.inside, self.outside, self.kernel, **dict(self.more))
            layer = layer.to(device, dtype)
            x = torch.randn(self.batch, self.inside, *[self.size] * self.dims, device=device, dtype=dtype)
            if channels_last:
                layer, x = layer.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
            return _trained(layer, x.requires_grad_())

        marks = "-nhwc" * channels_last + "-tries" * tries
        return Case(name=f"{self.name}-{_letters(dtype)}{marks}", prepare=prepare)


def _padded(kernel: int, **more: int) -> tuple[tuple[str, int], ...]:
    return (("padding", kernel // 2), *more.items())


CONVOLUTIONS = (
    Convolution(batch=32, inside=64, outside=64, size=56, kernel=3, more=_padded(3)),  # Winograd's
    Convolution(batch=32, inside=3, outside=64, size=224, kernel=7, more=_padded(7, stride=2)),
    Convolution(batch=32, inside=96, outside=96, size=56, kernel=7, more=_padded(7, groups=96)),
    Convolution(batch=32, inside=512, outside=512, size=7, kernel=3, more=_padded(3)),
    Convolution(batch=32, inside=256, outside=64, size=56, kernel=1),
    Convolution(batch=32, inside=128, outside=256, size=28, kernel=3, more=_padded(3, stride=2)),
    Convolution(batch=16, inside=64, outside=64, size=64, kernel=5, more=_padded(5)),
    Convolution(batch=16, inside=32, outside=32, size=64, kernel=11, more=_padded(11)),  # FFT's
    Convolution(batch=32, inside=128, outside=128, size=28, kernel=3, more=_padded(3, groups=32)),
    Convolution(batch=16, inside=64, outside=64, size=64, kernel=3, more=(("padding", 2), ("dilation", 2))),
    Convolution(batch=8, inside=128, outside=64, size=64, kernel=2, more=(("stride", 2),), is_transposed=True),
    Convolution(batch=16, inside=80, outside=384, size=3000, kernel=3, more=_padded(3), dims=1),
    Convolution(batch=2, inside=16, outside=32, size=32, kernel=3, more=_padded(3), dims=3),
    Convolution(batch=8, inside=17, outside=33, size=31, kernel=3, more=_padded(3)),
    Convolution(batch=1, inside=64, outside=64, size=512, kernel=3, more=_padded(3)),
    Convolution(batch=256, inside=64, outside=64, size=32, kernel=3, more=_padded(3)),
)


def convolutions() -> Iterator[Case]:
    """In each precision; then as channels_last, and with cuDNN's own trial of algorithms."""
    for dtype in (SINGLE, HALF, torch.float16):
        yield from (each.case(dtype) for each in CONVOLUTIONS)
    for dtype in (HALF, SINGLE):
        yield from (each.case(dtype, channels_last=True) for each in CONVOLUTIONS if each.dims == 2)
    yield from (each.case(SINGLE, tries=True) for each in CONVOLUTIONS)


def recurrent_case(kind: str, sizes: tuple[int, int, int, int], dtype: torch.dtype, **more: Any) -> Case:
    """`sizes` are time, batch, input width and hidden width."""

    def prepare(device: torch.device) -> Step:
        time, batch, inside, hidden = sizes
        layer = getattr(nn, kind)(inside, hidden, **more).to(device, dtype)
        return _trained(layer, torch.randn(time, batch, inside, device=device, dtype=dtype, requires_grad=True))

    marks = "".join(f"-{name}{value:g}" for name, value in more.items())
    return Case(name=f"{kind.lower()}-{'x'.join(map(str, sizes))}-{_letters(dtype)}{marks}", prepare=prepare)


def recurrent() -> Iterator[Case]:
    """What is kept from forward to backward: by cell, lengths, layers, directions, dropout, projection and precision."""
    sizes = ((64, 32, 128, 256), (128, 64, 256, 512), (7, 3, 17, 33), (512, 8, 64, 1024))
    kinds = ("LSTM", "GRU", "RNN")
    yield from (recurrent_case(kind, each, SINGLE) for kind, each in product(kinds, sizes))
    yield from (
        recurrent_case(kind, sizes[0], dtype, num_layers=layers, bidirectional=both, dropout=0.1 * (layers > 1))
        for kind, layers, both, dtype in product(kinds, (1, 2, 3), (False, True), (SINGLE, HALF))
    )
    yield from (recurrent_case("LSTM", each, SINGLE, proj_size=16) for each in sizes)


def attention_case(
    sizes: tuple[int, int, int, int], dtype: torch.dtype, backend: SDPBackend | None = None, **more: Any
) -> Case:
    """`sizes` are batch, heads, length and head width; without a backend, the step tells which one was chosen."""
    is_masked, options = more.pop("masked", False), more

    def prepare(device: torch.device) -> Step:
        query, key, value = (torch.randn(*sizes, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
        mask = torch.zeros(sizes[2], sizes[2], device=device, dtype=dtype) if is_masked else None

        def step() -> str | None:
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, **options)
            chosen = out.grad_fn.name() if out.grad_fn is not None else None
            out.sum().backward()
            query.grad = key.grad = value.grad = None
            return chosen

        def with_backend() -> str | None:
            with sdpa_kernel([backend] if backend is not None else []):
                return step()

        return step if backend is None else with_backend

    marks = "".join(f"-{name}{value:g}" for name, value in {**options, **({"masked": 1} if is_masked else {})}.items())
    kernel = "chosen" if backend is None else backend.name.lower().removesuffix("_attention")
    name = f"{kernel}-{'x'.join(map(str, sizes))}-{_letters(dtype)}{marks}"
    return Case(name=name, prepare=prepare)


def attention() -> Iterator[Case]:
    """Each kernel in each way it may be called; one that refuses is told as failed. The choice without a word comes first."""
    sizes = ((4, 12, 1024, 64), (2, 16, 2048, 128), (4, 8, 500, 80), (2, 8, 1024, 256), (8, 8, 33, 36))
    ways: tuple[dict[str, Any], ...] = ({}, {"is_causal": True}, {"dropout_p": 0.1}, {"masked": True})
    kernels = (
        None,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    )
    for kernel, dtype in product(kernels, (HALF, SINGLE)):
        yield from (attention_case(each, dtype, kernel, **way) for each, way in product(sizes, ways))


def rehearsed() -> Iterator[Case]:
    """One small case of each kind, for a CPU, and one that fails."""
    yield Convolution(batch=2, inside=3, outside=4, size=8, kernel=3, more=_padded(3)).case(SINGLE)
    yield recurrent_case("LSTM", (5, 2, 3, 4), SINGLE, num_layers=2, bidirectional=True)
    yield attention_case((1, 2, 8, 16), SINGLE, SDPBackend.MATH, is_causal=True)
    yield Convolution(batch=2, inside=3, outside=4, size=1, kernel=9).case(SINGLE)
    yield attention_case((1, 2, 8, 16), SINGLE)


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {
    "convolutions": convolutions,
    "recurrent": recurrent,
    "attention": attention,
    "rehearsed": rehearsed,
}
