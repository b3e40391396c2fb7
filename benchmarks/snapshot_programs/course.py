"""The language model of the course "CS336: Language Modeling from Scratch", and how it was profiled by two of its students."""

import math
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.snapshot_programs.parts import (
    VOCABULARY,
    GatedFeedForward,
    Linear,
    Mode,
    Size,
    Steps,
    autocast,
    new_weight,
    random_tokens,
    split_heads,
)


def _softmax(x: Tensor) -> Tensor:
    shifted = x - torch.max(x, dim=-1, keepdim=True)[0]
    exponential = torch.exp(shifted)
    return exponential / torch.sum(exponential, dim=-1, keepdim=True)


class _Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        given = x.dtype
        x = x.to(torch.float32)
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
        x = x * scale
        return (self.weight * x).to(given)


class _Rotation(nn.Module):
    """Rotary embedding from a table of cosines and sines; halves are joined, not interleaved again."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(length), 10_000.0 ** -(torch.arange(0, width, 2) / width))
        self.register_buffer("table", torch.stack((torch.cos(angles), torch.sin(angles))), persistent=False)
        self.table: Tensor

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.unflatten(-1, (-1, 2)).movedim(-1, 0).unbind(0)
        cos, sin = self.table[:, : x.shape[-2], :].unbind(0)
        turned_first = cos * first - sin * second
        turned_second = sin * first + cos * second
        return torch.concat((turned_first, turned_second), dim=-1)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, rotation: _Rotation) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (Linear(width, width) for _ in range(3))
        self.out = Linear(width, width)
        self.rotation = rotation

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (split_heads(each, self.heads) for each in (self.query(x), self.key(x), self.value(x)))
        query = self.rotation(query)
        key = self.rotation(key)
        places = torch.arange(x.shape[-2], device=x.device)
        mask = places[:, None] >= places[None, :]
        attended = _attend(query, key, value, mask[None])
        attended = attended.transpose(-2, -3).flatten(-2).contiguous()
        return self.out(attended)  # type: ignore[no-any-return]


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    scores = torch.einsum("...qd,...kd->...qk", query, key) / math.sqrt(key.shape[-1])
    scores = torch.where(mask, scores, float("-inf"))
    weights = _softmax(scores)
    return torch.einsum("...qk,...kd->...qd", weights, value)


class _Block(nn.Module):
    def __init__(self, size: Size, rotation: _Rotation) -> None:
        super().__init__()
        self.attention = _Attention(size.width, size.heads, rotation)
        self.feed_forward = GatedFeedForward(size.width, size.hidden)
        self.norm1, self.norm2 = _Norm(size.width), _Norm(size.width)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attention(self.norm1(x))
        x = x + attended
        fed = self.feed_forward(self.norm2(x))
        return x + fed  # type: ignore[no-any-return]


class CourseModel(nn.Module):
    """The language model that the course "CS336: Language Modeling from Scratch" hands out with its second assignment."""

    def __init__(self, size: Size, length: int) -> None:
        super().__init__()
        self.embedding = new_weight(VOCABULARY, size.width)
        self.rotation = _Rotation(length, size.width // size.heads)
        self.blocks = nn.ModuleList(_Block(size, self.rotation) for _ in range(size.layers))
        self.norm = _Norm(size.width)
        self.head = Linear(size.width, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.embedding[tokens, :]
        x = embedded
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x)  # type: ignore[no-any-return]


class CourseAdamW(torch.optim.Optimizer):
    """The course's AdamW: out of place, with zeros made in every step."""

    def __init__(self, parameters: Iterator[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 1e-3})

    def step(self) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            gradient = parameter.grad.data
            parameter.data -= 1e-5 * parameter.data
            state = self.state[parameter]
            old_first = state.get("first", torch.zeros_like(gradient))
            old_second = state.get("second", torch.zeros_like(gradient))
            first = 0.9 * old_first + 0.1 * gradient
            second = 0.999 * old_second + 0.001 * torch.square(gradient)
            parameter.data -= 1e-3 * first / (torch.sqrt(second) + 1e-8)
            state["first"], state["second"] = first, second


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    negative = -_log_softmax(logits)
    return torch.mean(torch.gather(negative, -1, targets.unsqueeze(-1)))


def _log_softmax(x: Tensor) -> Tensor:
    largest = torch.max(x, dim=-1, keepdim=True)[0]
    x = x - largest
    return x - torch.log(torch.sum(torch.exp(x), dim=-1, keepdim=True))


def course_with_torch_adamw(
    size: Size, length: int, *, mode: Mode, precision: str, empties_cache: bool, without_gradients: bool
) -> Steps:
    """Batches of 4, torch's AdamW, gradients dropped at the begin of a step; five steps, then the recorded one."""
    model = CourseModel(size, length).to("cuda")
    tokens, targets = random_tokens(4, length), random_tokens(4, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        gradients = torch.no_grad() if without_gradients else nullcontext()
        with gradients, autocast(precision):
            logits = model(tokens)
        if mode == "forward":
            return
        loss = F.cross_entropy(logits.float().reshape(-1, VOCABULARY), targets.reshape(-1))
        loss.backward()
        optimizer.step()

    yield
    for _ in range(5):
        step()
        yield
    if empties_cache:
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    step()
    yield


def course_first_step(size: Size, length: int) -> Steps:
    """The model made on the GPU, and its first step on a batch of 4 with torch's AdamW, one parameter at a time."""
    with torch.device("cuda"):
        model = CourseModel(size, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, foreach=False)
    tokens, targets = random_tokens(4, length), random_tokens(4, length)
    yield
    optimizer.zero_grad(set_to_none=True)
    logits = model(tokens)
    loss = F.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1))
    loss.backward()
    del logits, loss
    optimizer.step()
    yield


def course_with_own_adamw(size: Size, length: int, *, mode: Mode) -> Steps:
    """Batches of 4, the course's AdamW and cross-entropy; five steps, then the recorded one, whose results stay alive."""
    model = CourseModel(size, length).to("cuda")
    optimizer = CourseAdamW(model.parameters())
    warm_tokens, tokens = random_tokens(5, 4, length), random_tokens(1, 4, length)
    if mode == "forward":
        model.eval()
        yield
        with torch.inference_mode():
            for batch in (*warm_tokens, *tokens):
                model(batch)
                yield
        return
    warm_targets, targets = random_tokens(5, 4, length), random_tokens(1, 4, length)
    yield
    for index, (batch, target) in enumerate(zip(warm_tokens, warm_targets, strict=True)):
        output = model(batch)
        loss = _cross_entropy(output, target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if index < 4:
            yield
    del output, loss
    yield
    output = model(tokens[0])
    loss = _cross_entropy(output, targets[0])
    loss.backward()
    optimizer.step()
    yield
