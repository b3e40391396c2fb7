"""Models of the kinds people train, small, as factories that a tracer, a profiler and a MemTracker can all run."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn import functional as F

Build = Callable[..., dict[str, Any]]


class Repeated:
    """An endless loader that makes each batch anew, as a real loader does."""

    def __init__(self, make: Callable[[], tuple[Tensor, Tensor]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield self.make()


def _classification(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())


def _workload(
    model: nn.Module, optimizer: torch.optim.Optimizer, make: Callable[[], tuple[Tensor, Tensor]], **more: Any
) -> dict[str, Any]:
    return {"model": model, "optimizer": optimizer, "train_loader": Repeated(make), "loss": _classification, **more}


def mlp(optimizer: str = "adamw", batch: int = 256, width: int = 4000) -> dict[str, Any]:
    """Two linear layers, 1000 - width - 10."""
    model = nn.Sequential(nn.Linear(1000, width), nn.ReLU(), nn.Linear(width, 10))
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    return _workload(
        model, kind(model.parameters(), lr=1e-3), lambda: (torch.randn(batch, 1000), torch.randint(0, 10, (batch,)))
    )


class Bottleneck(nn.Module):
    """The residual block of ResNet-50."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.first = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width))
        self.third = nn.Sequential(nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out))
        self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.third(self.relu(self.second(self.relu(self.first(x)))))
        hidden += self.shortcut(x)
        return self.relu(hidden)  # type: ignore[no-any-return]


def resnet(batch: int = 4, size: int = 64, width: int = 16) -> dict[str, Any]:
    """A stem and four stages of one bottleneck each."""
    stem = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    stages, channels = [], width
    for stage in range(4):
        stages.append(Bottleneck(channels, width << stage, stride=1 if stage == 0 else 2))
        channels = 4 * (width << stage)
    model = nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 100))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    return _workload(
        model, optimizer, lambda: (torch.randn(batch, 3, size, size), torch.randint(0, 100, (batch,))), clip_norm=1.0
    )


class Block(nn.Module):
    """A pre-norm transformer block with causal attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, 2)
        query, key, value = (p.view(batch, time, self.heads, -1).transpose(1, 2) for p in parts)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, time, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class Gpt(nn.Module):
    """GPT-2 with tied embeddings; `checkpoints` recomputes the blocks in backward."""

    def __init__(self, *, vocabulary: int, time: int, layers: int, width: int, heads: int, checkpoints: bool) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(time, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False) if self.checkpoints else block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


def gpt(
    checkpoints: bool = False,
    batch: int = 2,
    time: int = 64,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    vocabulary: int = 1000,
) -> dict[str, Any]:
    """A small GPT with AdamW and clipping."""
    model = Gpt(vocabulary=vocabulary, time=time, layers=layers, width=width, heads=heads, checkpoints=checkpoints)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    return _workload(model, optimizer, _tokens(vocabulary, batch, time), clip_norm=1.0)


def gpt_checkpointed() -> dict[str, Any]:
    """The same GPT, with its blocks checkpointed."""
    return gpt(checkpoints=True)


class RmsNorm(nn.Module):
    """Root mean square normalization in float32, as Llama does it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).type_as(x)


class LlamaBlock(nn.Module):
    """Rotary attention and a gated feed-forward network."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)
        self.norm1, self.norm2 = RmsNorm(width), RmsNorm(width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, time, width = x.shape
        normed = self.norm1(x)
        query, key, value = (
            layer(normed).view(batch, time, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(
            _rotated(query, cos, sin), _rotated(key, cos, sin), value, is_causal=True
        )
        x = x + self.out(attended.transpose(1, 2).reshape(batch, time, width))
        normed = self.norm2(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))  # type: ignore[no-any-return]


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Llama(nn.Module):
    """A Llama without grouped heads."""

    def __init__(self, *, vocabulary: int, layers: int, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.head_width = width // heads
        self.tokens = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(LlamaBlock(width, heads, inner) for _ in range(layers))
        self.norm, self.head = RmsNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device).float()
        exponents = torch.arange(0, self.head_width, 2, device=tokens.device).float() / self.head_width
        angles = torch.outer(positions, 10000.0**-exponents)
        angles = torch.cat((angles, angles), -1)
        x = self.tokens(tokens)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.head(self.norm(x)).float()  # type: ignore[no-any-return]


def llama(
    batch: int = 2,
    time: int = 64,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    inner: int = 128,
    vocabulary: int = 1000,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """A small Llama with AdamW."""
    model = Llama(vocabulary=vocabulary, layers=layers, width=width, heads=heads, inner=inner).to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    return _workload(model, optimizer, _tokens(vocabulary, batch, time))


def _tokens(vocabulary: int, batch: int, time: int) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: tuple(torch.randint(0, vocabulary, (batch, time)) for _ in range(2))  # type: ignore[return-value]


class Selecting(nn.Module):
    """A table of rows, and of each row what operators with an index in their backward pass select."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(rows, width))
        self.head = nn.Linear(9, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table[tokens]
        selected = (
            torch.max(x, dim=-1)[0],
            torch.median(x, dim=-1)[0],
            torch.kthvalue(x, 3, dim=-1)[0],
            torch.sort(x, dim=-1)[0].mean(-1),
            torch.topk(x, 5, dim=-1)[0].mean(-1),
            torch.gather(x, -1, tokens[..., None] % x.shape[-1])[..., 0],
            torch.take(x, tokens).mean() * x[..., 0],
            torch.masked_select(x, x > 0).mean() * x[..., 1],
            torch.index_select(x, -1, tokens[0] % x.shape[-1]).mean(-1),
        )
        return self.head(torch.stack(selected, dim=-1))  # type: ignore[no-any-return]


def selecting() -> dict[str, Any]:
    """A selection of every kind from rows of a table of 300 x 64."""
    model = Selecting(300, 64)
    make = _tokens(300, batch=4, time=128)
    return _workload(model, torch.optim.SGD(model.parameters(), 0.1), lambda: (make()[0], make()[1] % 10))
