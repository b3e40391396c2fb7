"""The training set-ups of which public CUDA memory snapshots exist, restated: two small language models and attention alone.

Each follows what its public script makes and drops, operation by operation, as the snapshot's own stacks tell it: sizes
of the model, what is kept for the backward pass, in which order weights come to the device. Nothing here is fast or good
practice; that is how these programs were written.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


def _weight(*shape: int, device: str | None = None) -> nn.Parameter:
    return nn.Parameter(nn.init.uniform_(torch.empty(*shape, device=device)))


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("...i,oi->...o", x, weight)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)  # type: ignore[no-any-return]


def _softmax(x: Tensor) -> Tensor:
    shifted = x - torch.max(x, dim=-1, keepdim=True)[0]
    exponential = torch.exp(shifted)
    return exponential / torch.sum(exponential, dim=-1, keepdim=True)


class _Linear(nn.Module):
    def __init__(self, inputs: int, outputs: int, device: str | None = None) -> None:
        super().__init__()
        self.weight = _weight(outputs, inputs, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return _linear(x, self.weight)


class _GatedFeedForward(nn.Module):
    """SwiGLU; the activation is written out."""

    def __init__(self, width: int, hidden: int, device: str | None = None) -> None:
        super().__init__()
        self.gate = _Linear(width, hidden, device)
        self.down = _Linear(hidden, width, device)
        self.up = _Linear(width, hidden, device)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(_silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


def _silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


class _CourseNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        given = x.dtype
        x = x.to(torch.float32)
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
        x = x * scale
        return (self.weight * x).to(given)


class _CourseRotation(nn.Module):
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


class _CourseAttention(nn.Module):
    def __init__(self, width: int, heads: int, rotation: _CourseRotation) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (_Linear(width, width) for _ in range(3))
        self.out = _Linear(width, width)
        self.rotation = rotation

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (_heads(each, self.heads) for each in (self.query(x), self.key(x), self.value(x)))
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


class _CourseBlock(nn.Module):
    def __init__(self, size: Size, rotation: _CourseRotation) -> None:
        super().__init__()
        self.attention = _CourseAttention(size.width, size.heads, rotation)
        self.feed_forward = _GatedFeedForward(size.width, size.hidden)
        self.norm1, self.norm2 = _CourseNorm(size.width), _CourseNorm(size.width)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attention(self.norm1(x))
        x = x + attended
        fed = self.feed_forward(self.norm2(x))
        return x + fed  # type: ignore[no-any-return]


class CourseModel(nn.Module):
    """The language model that the course "CS336: Language Modeling from Scratch" hands out with its second assignment."""

    def __init__(self, size: Size, length: int) -> None:
        super().__init__()
        self.embedding = _weight(VOCABULARY, size.width)
        self.rotation = _CourseRotation(length, size.width // size.heads)
        self.blocks = nn.ModuleList(_CourseBlock(size, self.rotation) for _ in range(size.layers))
        self.norm = _CourseNorm(size.width)
        self.head = _Linear(size.width, VOCABULARY)

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


def _course_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    negative = -_log_softmax(logits)
    return torch.mean(torch.gather(negative, -1, targets.unsqueeze(-1)))


def _log_softmax(x: Tensor) -> Tensor:
    largest = torch.max(x, dim=-1, keepdim=True)[0]
    x = x - largest
    return x - torch.log(torch.sum(torch.exp(x), dim=-1, keepdim=True))


def _autocast(precision: str) -> AbstractContextManager[object]:
    return torch.autocast("cuda", torch.bfloat16) if precision == "bf16" else nullcontext()


def _tokens(*shape: int) -> Tensor:
    return torch.randint(0, VOCABULARY, shape, device="cuda")


def course_with_torch_adamw(
    size: Size, length: int, *, mode: Mode, precision: str, empties_cache: bool, without_gradients: bool
) -> Steps:
    """Batches of 4, torch's AdamW, gradients dropped at the begin of a step; five steps, then the recorded one."""
    model = CourseModel(size, length).to("cuda")
    tokens, targets = _tokens(4, length), _tokens(4, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        gradients = torch.no_grad() if without_gradients else nullcontext()
        with gradients, _autocast(precision):
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
    tokens, targets = _tokens(4, length), _tokens(4, length)
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
    warm_tokens, tokens = _tokens(5, 4, length), _tokens(1, 4, length)
    if mode == "forward":
        model.eval()
        yield
        with torch.inference_mode():
            for batch in (*warm_tokens, *tokens):
                model(batch)
                yield
        return
    warm_targets, targets = _tokens(5, 4, length), _tokens(1, 4, length)
    yield
    for index, (batch, target) in enumerate(zip(warm_tokens, warm_targets, strict=True)):
        output = model(batch)
        loss = _course_cross_entropy(output, target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if index < 4:
            yield
    del output, loss
    yield
    output = model(tokens[0])
    loss = _course_cross_entropy(output, targets[0])
    loss.backward()
    optimizer.step()
    yield


class _PlainNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, device="cuda"))

    def forward(self, x: Tensor) -> Tensor:
        root = torch.sqrt(torch.mean(x**2, dim=-1, keepdim=True) + 1e-5)
        return x / root * self.weight


class _PlainRotation:
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


def _plain_softmax(x: Tensor) -> Tensor:
    largest, _ = torch.max(x, dim=-1, keepdim=True)
    return torch.exp(x - largest) / torch.sum(torch.exp(x - largest), dim=-1, keepdim=True)


class _PlainAttention(nn.Module):
    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.rotation = _PlainRotation(length, width // heads)
        self.query, self.key, self.value, self.out = (_Linear(width, width, "cuda") for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        query, key, value = (_heads(each, self.heads) for each in (query, key, value))
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
        weights = _plain_softmax(scores)
        return torch.einsum("...qk,...kd->...qd", weights, value)


class _PlainFeedForward(_GatedFeedForward):
    """The same, with every step kept to the end."""

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        active = _silu(gate)
        up = self.up(x)
        product = active * up
        return self.down(product)  # type: ignore[no-any-return]


class _PlainBlock(nn.Module):
    def __init__(self, size: Size, length: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _PlainNorm(size.width), _PlainNorm(size.width)
        self.attention = _PlainAttention(size.width, size.heads, length)
        self.feed_forward = _PlainFeedForward(size.width, size.hidden, "cuda")

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
        self.embedding = _weight(VOCABULARY, size.width, device="cuda")
        self.blocks = nn.ModuleList(_PlainBlock(size, length) for _ in range(size.layers))
        self.norm = _PlainNorm(size.width)
        self.head = _Linear(size.width, VOCABULARY, "cuda")

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


def _plain_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
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
        loss = _plain_cross_entropy(last, labels)
        loss.backward()
        optimizer.step()
        yield


def _last_position(logits: Tensor) -> Tensor:
    """`logits[:, -1, :]` as torch 2.6 took it: later releases leave out the slices, and so their backward pass."""
    everything = torch.ops.aten.slice.Tensor
    return everything(everything(logits, 0).select(1, -1), 1)  # type: ignore[no-any-return]


class _LateLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = _weight(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...i,io->...o", x, self.weight)


class _LateNorm(nn.Module):
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


class _LateRotation(nn.Module):
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


class _LateAttention(nn.Module):
    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.key, self.query, self.value, self.out = (_LateLinear(width, width) for _ in range(4))
        self.rotation = _LateRotation(length, width // heads)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        key = _heads(self.key(x), self.heads)
        query = _heads(self.query(x), self.heads)
        value = _heads(self.value(x), self.heads)
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
        weights = _softmax_in_two(scores)
        return torch.einsum("...qk,...kd->...qd", weights, value)


class _LateFeedForward(nn.Module):
    """SwiGLU whose hidden values lie with their features first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.down, self.up = _weight(hidden, width), _weight(width, hidden), _weight(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        given = x.dtype
        x = x.to(torch.float32)
        gate = torch.einsum("hi,...i->h...", self.gate, x)
        up = torch.einsum("hi,...i->h...", self.up, x)
        result = torch.einsum("ih,h...->...i", self.down, gate * torch.sigmoid(gate) * up)
        return result.to(given)


class _LateBlock(nn.Module):
    def __init__(self, size: Size, length: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _LateNorm(size.width), _LateNorm(size.width)
        self.attention = _LateAttention(size.width, size.heads, length)
        self.feed_forward = _LateFeedForward(size.width, size.hidden)

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
        self.embedding = _weight(VOCABULARY, size.width)
        self.blocks = nn.ModuleList(_LateBlock(size, length) for _ in range(size.layers))
        self.norm = _LateNorm(size.width)
        self.head = _LateLinear(size.width, VOCABULARY)

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
        with _autocast(precision), torch.no_grad():
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
    weights = _softmax_in_two(scores)
    return torch.einsum("...qk,...kd->...qd", weights, value)


def _softmax_in_two(x: Tensor) -> Tensor:
    largest = x.max(dim=-1, keepdim=True).values
    numerator = torch.exp(x - largest)
    denominator = torch.sum(numerator, dim=-1, keepdim=True)
    return numerator / denominator
