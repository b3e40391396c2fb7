"""What the programs behind the snapshots have in common: sizes, and layers written out in elementary operators."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

VOCABULARY = 10_000
Mode = Literal["forward", "full step"]
Steps = Iterator[None]
"""Runs to the end of the set-up, then to the end of each step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A model's width, hidden width of its feed-forward layers, layers and heads."""

    width: int
    hidden: int
    layers: int
    heads: int


def new_weight(*shape: int, device: str | None = None) -> nn.Parameter:
    """A parameter; initial values do not matter, but nothing may be allocated for them."""
    return nn.Parameter(nn.init.uniform_(torch.empty(*shape, device=device)))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """(..., inputs) by (outputs, inputs)."""
    return torch.einsum("...i,oi->...o", x, weight)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(..., time, width) as (..., heads, time, width of a head)."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)  # type: ignore[no-any-return]


class Linear(nn.Module):
    """A linear layer without a bias, as an einsum."""

    def __init__(self, inputs: int, outputs: int, device: str | None = None) -> None:
        super().__init__()
        self.weight = new_weight(outputs, inputs, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight)


class GatedFeedForward(nn.Module):
    """SwiGLU; the activation is written out."""

    def __init__(self, width: int, hidden: int, device: str | None = None) -> None:
        super().__init__()
        self.gate = Linear(width, hidden, device)
        self.down = Linear(hidden, width, device)
        self.up = Linear(width, hidden, device)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), in two operators."""
    return x * torch.sigmoid(x)


def softmax_in_two(x: Tensor) -> Tensor:
    """Over the last dimension, numerator and denominator kept until both are there."""
    largest = x.max(dim=-1, keepdim=True).values
    numerator = torch.exp(x - largest)
    denominator = torch.sum(numerator, dim=-1, keepdim=True)
    return numerator / denominator


def autocast(precision: str) -> AbstractContextManager[object]:
    """For "bf16"; nothing for every other precision."""
    return torch.autocast("cuda", torch.bfloat16) if precision == "bf16" else nullcontext()


def random_tokens(*shape: int) -> Tensor:
    """Token ids, made on the GPU."""
    return torch.randint(0, VOCABULARY, shape, device="cuda")
