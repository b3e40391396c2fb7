"""A third such language model, known from its stacks and from later versions of its source, and attention alone."""

import torch
from torch import Tensor, nn

from benchmarks.snapshot_programs.parts import (
    VOCABULARY,
    Size,
    Steps,
    autocast,
    new_weight,
    softmax_in_two,
    split_heads,
)


class _Linear(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = new_weight(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...i,io->...o", x, self.weight)


class _Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.ones(1, width))

    def forward(self, x: Tensor) -> Tensor:
        given = x.dtype
        x = x.to(torch.float32)
        squares = torch.einsum("...i,...i->...", x, x)
        squares = squares / self.width + 1e-5
        root = torch.sqrt(squares).unsqueeze(-1)
        result = x / root * self.weight
        return result.to(given)


class _Rotation(nn.Module):
    """Rotary embedding whose tables hold each angle twice."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(length), 10_000.0 ** -(torch.arange(0, width, 2) / width))
        twice = torch.repeat_interleave(angles, 2, dim=-1)
        self.register_buffer("cos", twice.cos(), persistent=False)
        self.register_buffer("sin", twice.sin(), persistent=False)
        self.cos: Tensor
        self.sin: Tensor

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        cos = self.cos[places]
        sin = self.sin[places]
        return (x * cos) + (self._turned(x) * sin)

    def _turned(self, x: Tensor) -> Tensor:
        first, second = x.view(*x.shape[:-1], -1, 2).unbind(dim=-1)
        turned = torch.stack((-second, first), dim=-1)
        return turned.view(*x.shape)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.key, self.query, self.value, self.out = (_Linear(width, width) for _ in range(4))
        self.rotation = _Rotation(length, width // heads)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        key = split_heads(self.key(x), self.heads)
        query = split_heads(self.query(x), self.heads)
        value = split_heads(self.value(x), self.heads)
        query = self.rotation(query, places)
        key = self.rotation(key, places)
        mask = torch.tril(torch.ones(x.shape[-2], x.shape[-2], device=x.device)).bool()
        attended = self._attend(query, key, value, mask)
        combined = attended.transpose(-2, -3).flatten(-2)
        return self.out(combined)  # type: ignore[no-any-return]

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        scores = torch.einsum("...qd,...kd->...qk", query, key)
        scores = scores / query.shape[-1] ** 0.5
        scores = scores.masked_fill(mask == False, -1e9)  # noqa: E712  as it was written
        weights = softmax_in_two(scores)
        return torch.einsum("...qk,...kd->...qd", weights, value)


class _FeedForward(nn.Module):
    """SwiGLU whose hidden values lie with their features first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.down, self.up = new_weight(hidden, width), new_weight(width, hidden), new_weight(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        given = x.dtype
        x = x.to(torch.float32)
        gate = torch.einsum("hi,...i->h...", self.gate, x)
        up = torch.einsum("hi,...i->h...", self.up, x)
        result = torch.einsum("ih,h...->...i", self.down, gate * torch.sigmoid(gate) * up)
        return result.to(given)


class _Block(nn.Module):
    def __init__(self, size: Size, length: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _Norm(size.width), _Norm(size.width)
        self.attention = _Attention(size.width, size.heads, length)
        self.feed_forward = _FeedForward(size.width, size.hidden)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        normed1 = self.norm1(x)
        attended = self.attention(normed1, places)
        x1 = x + attended
        normed2 = self.norm2(x1)
        fed = self.feed_forward(normed2)
        return x1 + fed  # type: ignore[no-any-return]


class LateModel(nn.Module):
    """A third language model of the kind, known from its stacks and from later versions of its source."""

    def __init__(self, size: Size, length: int) -> None:
        super().__init__()
        self.embedding = new_weight(VOCABULARY, size.width)
        self.blocks = nn.ModuleList(_Block(size, length) for _ in range(size.layers))
        self.norm = _Norm(size.width)
        self.head = _Linear(size.width, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding[tokens]
        places = torch.arange(tokens.shape[1], device=tokens.device)
        for block in self.blocks:
            x = block(x, places)
        normed = self.norm(x)
        return self.head(normed)  # type: ignore[no-any-return]


def late_model(size: Size, length: int, *, precision: str) -> Steps:
    """Batches of 4, forward without gradients; five steps, then the recorded one."""
    model = LateModel(size, length).to("cuda")
    tokens = torch.randint(0, VOCABULARY, (4, length)).to("cuda")

    def step() -> None:
        with autocast(precision), torch.no_grad():
            logits = model(tokens)  # noqa: F841  it outlives the casts

    yield
    for _ in range(6):
        step()
        yield


def attention_alone() -> Steps:
    """One attention of 8 sequences of 4096 and its backward pass, recorded from the first allocation on."""
    query, key, value = (torch.randn(8, 4096, 16, device="cuda", requires_grad=True) for _ in range(3))
    yield
    out = _attention_alone(query, key, value)
    loss = out.sum()
    loss.backward()
    yield


def _attention_alone(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = torch.einsum("...qd,...kd->...qk", query, key)
    scores = scores / query.shape[-1] ** 0.5
    weights = softmax_in_two(scores)
    return torch.einsum("...qk,...kd->...qd", weights, value)
