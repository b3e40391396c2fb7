"""Models whose traces once depended on what had run before, and a program that prints their digests."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, trace
from lrtool.workload.target import from_callable
from tests.tracing.tracer.traced_models import Repeated

NUM_STEPS = 4


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over an image's channels, as ConvNeXt has it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """ConvNeXt's: a depthwise convolution, layer scale and stochastic depth."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.outer(F.gelu(self.inner(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))))
        kept = torch.empty(len(x), 1, 1, 1, device=x.device).bernoulli_(0.9).div_(0.9)
        return x + kept * (self.scale * hidden).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def convnext() -> dict[str, Any]:
    """Under autocast, which keeps copies of the weights in a map by their addresses."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 4, 4), ChannelNorm(16), Block(16), ChannelNorm(16), nn.Conv2d(16, 32, 2, 2), Block(32),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    images = Repeated(lambda: (torch.randn(4, 3, 32, 32), torch.randint(0, 10, (4,))))
    return _with_adam(model, images, precision="bf16")


class Recurrent(nn.Module):
    """Words through an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layers, self.head = nn.Embedding(50, 16), nn.LSTM(16, 32, 2, dropout=0.1), nn.Linear(32, 50)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.words(x))[0]).flatten(0, 1)  # type: ignore[no-any-return]


def lstm() -> dict[str, Any]:
    return _with_adam(Recurrent(), Repeated(lambda: (torch.randint(0, 50, (8, 4)), torch.randint(0, 50, (32,)))))


def transformer() -> dict[str, Any]:
    """A model of transformers, whose outputs are objects of its own; torch's own encoder where that is not installed."""
    with suppress(ImportError):
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=50
        )
        words = lambda: {"input_ids": torch.randint(0, 50, (2, 8)), "labels": torch.randint(0, 2, (2,))}  # noqa: E731
        return {**_with_adam(BertForSequenceClassification(config), Repeated(words)), "loss": None}  # type: ignore[arg-type]
    encoder = nn.Sequential(nn.TransformerEncoderLayer(32, 2, 64), nn.Flatten(), nn.Linear(256, 2))
    return _with_adam(encoder, Repeated(lambda: (torch.randn(2, 8, 32), torch.randint(0, 2, (2,)))))


class Kept:
    """A result that refers to itself, and so is left to Python's collector."""

    def __init__(self, output: Tensor) -> None:
        self.output, self.parts = output, {torch.empty(size * 1000, device=output.device) for size in (1, 2, 3)}
        self.itself = self


def in_cycles() -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(Kept(model(batch[0])).output, batch[1])

    return {**_with_adam(model, Repeated(lambda: (torch.randn(32, 64), torch.randint(0, 10, (32,))))), "loss": loss}


def _with_adam(model: nn.Module, loader: Repeated, **more: Any) -> dict[str, Any]:
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    return {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters()),
        "train_loader": loader,
        "loss": loss,
        **more,
    }


MODELS: tuple[Callable[[], dict[str, Any]], ...] = (convnext, lstm, transformer, in_cycles)


def traced(build: Callable[[], dict[str, Any]]) -> TracedRun:
    return trace(from_callable(build, params={}), TraceSettings(num_steps=NUM_STEPS, until_steady=False))


def digest(build: Callable[[], dict[str, Any]]) -> str:
    """Of all that a trace says: what was asked for, in which order, and what is known of it."""
    found = traced(build).trace
    columns = (found.ops, found.slots, found.values, found.streams, found.notes, found.note_table)
    return hashlib.blake2b(repr(columns).encode(), digest_size=16).hexdigest()


if __name__ == "__main__":
    print(json.dumps({build.__name__: digest(build) for build in MODELS}))
