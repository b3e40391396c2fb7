"""A language model of the same kind by another hand: made on the GPU, and recorded from its first allocation on."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.snapshot_programs.parts import (
    VOCABULARY,
    GatedFeedForward,
    Linear,
    Mode,
    Size,
    Steps,
    new_weight,
    silu,
    split_heads,
)


class _Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, device="cuda"))

    def forward(self, x: Tensor) -> Tensor:
        root = torch.sqrt(torch.mean(x**2, dim=-1, keepdim=True) + 1e-5)
        return x / root * self.weight


class _Rotation:
    """Rotary embedding whose tables stay on the CPU: the rows that are needed are copied for every use."""

    def __init__(self, length: int, width: int) -> None:
        angles = torch.outer(torch.arange(length), 10_000.0 ** -(torch.arange(0, width, 2) / width))
        self.sin, self.cos = torch.sin(angles), torch.cos(angles)

    def __call__(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[-2])
        sin = self.sin[places].to("cuda").unsqueeze(-1)
        cos = self.cos[places].to("cuda").unsqueeze(-1)
        pairs = x.unflatten(-1, (-1, 2))
        first = cos * pairs[..., :1] - sin * pairs[..., 1:]
        second = sin * pairs[..., :1] + cos * pairs[..., 1:]
        turned = torch.cat([first, second], dim=-1)
        return turned.flatten(-2)


def _softmax(x: Tensor) -> Tensor:
    largest, _ = torch.max(x, dim=-1, keepdim=True)
    return torch.exp(x - largest) / torch.sum(torch.exp(x - largest), dim=-1, keepdim=True)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.rotation = _Rotation(length, width // heads)
        self.query, self.key, self.value, self.out = (Linear(width, width, "cuda") for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        query, key, value = (split_heads(each, self.heads) for each in (query, key, value))
        query = self.rotation(query)
        key = self.rotation(key)
        attended = self._attend(query, key, value, torch.tril(torch.ones(x.shape[-2], x.shape[-2])))
        attended = attended.transpose(-2, -3).flatten(-2)
        return self.out(attended)  # type: ignore[no-any-return]

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        mask = mask.to("cuda")
        products = torch.einsum("...qd,...kd->...qk", query, key)
        scores = products / torch.sqrt(torch.tensor(query.shape[-1], device="cuda"))
        scores = scores.masked_fill_(~mask.bool(), -math.inf)
        weights = _softmax(scores)
        return torch.einsum("...qk,...kd->...qd", weights, value)


class _FeedForward(GatedFeedForward):
    """The same, with every step kept to the end."""

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        active = silu(gate)
        up = self.up(x)
        product = active * up
        return self.down(product)  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, size: Size, length: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _Norm(size.width), _Norm(size.width)
        self.attention = _Attention(size.width, size.heads, length)
        self.feed_forward = _FeedForward(size.width, size.hidden, "cuda")

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        attended = self.attention(normed)
        x1 = attended + x
        normed1 = self.norm2(x1)
        fed = self.feed_forward(normed1)
        return fed + x1  # type: ignore[no-any-return]


class PlainModel(nn.Module):
    """A language model of the same kind, written by another hand, and made on the GPU."""

    def __init__(self, size: Size, length: int) -> None:
        super().__init__()
        self.embedding = new_weight(VOCABULARY, size.width, device="cuda")
        self.blocks = nn.ModuleList(_Block(size, length) for _ in range(size.layers))
        self.norm = _Norm(size.width)
        self.head = Linear(size.width, VOCABULARY, "cuda")

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding[tokens]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x)  # type: ignore[no-any-return]


class PlainAdam(torch.optim.Optimizer):
    """An Adam that makes its state at once and never writes in place."""

    def __init__(self, parameters: Iterator[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 1e-3})
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter] = {"first": torch.zeros_like(parameter), "second": torch.zeros_like(parameter)}

    def step(self) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            gradient, state = parameter.grad.data, self.state[parameter]
            old_first = state["first"]
            first = 0.9 * old_first + 0.1 * gradient
            state["first"] = first
            old_second = state["second"]
            second = 0.999 * old_second + 0.001 * gradient**2
            state["second"] = second
            parameter.data = parameter.data - 1e-3 * (first / (torch.sqrt(second) + 1e-8))
            parameter.data = parameter.data - 0.0 * parameter.data


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    largest, _ = torch.max(logits, dim=-1, keepdim=True)
    log_softmax = logits - largest - torch.log(torch.sum(torch.exp(logits - largest), dim=-1, keepdim=True))
    one_hot = torch.zeros_like(log_softmax)
    one_hot.scatter_(-1, targets.unsqueeze(-1), 1)
    return -torch.sum(one_hot * log_softmax) / logits.shape[0]


def plain_model(length: int, *, mode: Mode) -> Steps:
    """Three steps on batches of 10, recorded from the first allocation on."""
    model = PlainModel(Size(width=512, hidden=1344, layers=4, heads=16), 256)
    optimizer = PlainAdam(model.parameters()) if mode == "full step" else None
    tokens = torch.randint(0, VOCABULARY, (10, length)).to("cuda")
    if optimizer is None:
        yield
        for _ in range(3):
            model(tokens)
            yield
        return
    labels = torch.randint(0, VOCABULARY, (10,)).to("cuda")
    yield
    for _ in range(3):
        optimizer.zero_grad()
        logits = model(tokens)
        last = _last_position(logits)
        loss = _cross_entropy(last, labels)
        loss.backward()
        optimizer.step()
        yield


def _last_position(logits: Tensor) -> Tensor:
    """`logits[:, -1, :]` as torch 2.6 took it: later releases leave out the slices, and so their backward pass."""
    everything = torch.ops.aten.slice.Tensor
    return everything(everything(logits, 0).select(1, -1), 1)  # type: ignore[no-any-return]
