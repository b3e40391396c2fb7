"""Single eager operations of Liger-Kernel's benchmark, rebuilt from the configuration in its published rows.

Each builder takes a row's configuration, with the swept value under its name, makes the tensors, and returns what is
done in each measured iteration. Modules that the published script also builds, of the same size, are built here too.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Config = Mapping[str, Any]
Iteration = Callable[[], object]
Builder = Callable[[Config], Iteration]
CUDA = torch.device("cuda", 0)


def random(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> Tensor:
    """A normal tensor on the GPU."""
    return torch.randn(*shape, dtype=dtype, device=CUDA, requires_grad=grad)


def in_mode(mode: str, forward: Callable[[], Tensor]) -> Iteration:
    """One iteration of `forward`, of the backward pass of a kept result, or of both; the gradient is random."""
    if mode == "forward":
        return forward
    if mode == "backward":
        kept = forward()
        gradient = torch.randn_like(kept)
        return lambda: kept.backward(gradient, retain_graph=True)

    def full() -> None:
        result = forward()
        result.backward(torch.randn_like(result), retain_graph=True)

    return full


def with_gradient(forward: Callable[[], Tensor], gradient: Tensor) -> Iteration:
    """Forward and backward, with a gradient made beforehand."""

    def full() -> None:
        forward().backward(gradient, retain_graph=True)

    return full


def to_scalar(forward: Callable[[], Tensor], *, retain: bool = False) -> Iteration:
    """Forward and backward of a loss."""

    def full() -> None:
        loss = forward()
        loss.backward(retain_graph=retain)

    return full


def cross_entropy(config: Config) -> Iteration:
    """`nn.CrossEntropyLoss` over the vocabulary."""
    rows, vocabulary = config["B"] * config["T"], config["V"]
    logits = random(rows, vocabulary, grad=True)
    target = torch.randint(vocabulary, (rows, 1), device=CUDA).squeeze(1)
    loss = nn.CrossEntropyLoss()
    return to_scalar(lambda: loss(logits, target))


def embedding(config: Config) -> Iteration:
    """`nn.Embedding`."""
    indices = torch.randint(0, config["V"], (config["B"], config["T"]), device=CUDA)
    layer = nn.Embedding(config["V"], config["D"]).to(CUDA).to(config["dtype"])
    return in_mode(config["mode"], lambda: layer(indices))


class RmsNorm(nn.Module):
    """Llama's RMS norm, in torch operations."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, hidden: Tensor) -> Tensor:
        dtype = hidden.dtype
        hidden = hidden.to(torch.float32)
        variance = hidden.pow(2).mean(-1, keepdim=True)
        hidden = hidden * torch.rsqrt(variance + 1e-6)
        return self.weight * hidden.to(dtype)


def rms_norm(config: Config) -> Iteration:
    """Llama's RMS norm with an fp32 weight."""
    size = config["H"]
    _other, layer = RmsNorm(size).to(CUDA), RmsNorm(size).to(CUDA)
    hidden = random(config["M"], size, dtype=config["dtype"])
    gradient = torch.randn_like(hidden)
    hidden.requires_grad_(True)
    return _keeping(_other, with_gradient(lambda: layer(hidden), gradient))


def layer_norm(config: Config) -> Iteration:
    """`nn.LayerNorm` with fp32 parameters."""
    size = config["N"]
    _other, layer = nn.LayerNorm(size).to(CUDA), nn.LayerNorm(size).to(CUDA)
    hidden = random(config["M"], size, dtype=config["dtype"])
    gradient = torch.randn_like(hidden)
    hidden.requires_grad_(True)
    return _keeping(_other, with_gradient(lambda: layer(hidden), gradient))


def _keeping(kept: object, iteration: Iteration) -> Iteration:
    """`iteration`, with something else kept alive besides."""

    def kept_along() -> object:
        assert kept is not None
        return iteration()

    return kept_along


class AddRmsNorm(nn.Module):
    """RMS norm of a sum, which is returned as well."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, hidden: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        dtype = hidden.dtype
        hidden = hidden.to(torch.float32)
        residual = residual.to(torch.float32)
        hidden = hidden + residual
        residual = hidden
        variance = hidden.pow(2).mean(-1, keepdim=True)
        hidden = hidden * torch.rsqrt(variance + 1e-6)
        return self.weight * hidden.to(dtype), residual.to(dtype)


def fused_add_rms_norm(config: Config) -> Iteration:
    """Residual sum and RMS norm, beside the two other layers of the published script (one with two weights)."""
    size = config["H"]
    others = [RmsNorm(size).to(CUDA) for _ in range(3)]
    layer = AddRmsNorm(size).to(CUDA)
    hidden, residual = (random(config["M"], size, dtype=config["dtype"]) for _ in range(2))
    gradients = torch.randn_like(hidden), torch.randn_like(residual)
    hidden.requires_grad_(True)
    residual.requires_grad_(True)

    def full() -> None:
        normed, total = layer(hidden, residual)
        torch.autograd.backward((normed, total), gradients)

    return _keeping(others, full)


def group_norm(config: Config) -> Iteration:
    """`nn.GroupNorm`; the script that made these rows ran forward and backward in every mode."""
    channels = config["C"]
    num_groups = channels // config["channels_per_group"]
    hidden = random(config["M"], channels, config["H"], dtype=config["dtype"])
    _other, layer = (nn.GroupNorm(num_groups, channels).to(CUDA) for _ in range(2))
    gradient = torch.randn_like(hidden)
    hidden.requires_grad_(True)
    return _keeping(_other, with_gradient(lambda: layer(hidden), gradient))


def gated_mlp(config: Config) -> Iteration:
    """Llama's MLP with the configured activation (SwiGLU, GEGLU)."""
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    names = ("hidden_size", "intermediate_size", "hidden_act")
    batch = config["bsz"] if "bsz" in config else config["B"]
    hidden = random(batch, config["T"], config["hidden_size"], dtype=config["dtype"], grad=True)
    layer = LlamaMLP(config=LlamaConfig(**{name: config[name] for name in names})).to(CUDA).to(config["dtype"])
    return in_mode(config["mode"], lambda: layer(hidden))


def _angles(head: int, length: int) -> Tensor:
    """Angles by position, as the product of matrices that transformers took when the rows were measured."""
    frequencies = 1.0 / (10000.0 ** (torch.arange(0, head, 2, device=CUDA).float() / head))
    positions = torch.arange(length, device=CUDA).unsqueeze(0)
    product = frequencies[None, :, None].float() @ positions[:, None, :].float()
    return product.transpose(1, 2)


def _heads(config: Config) -> tuple[int, int, list[Tensor]]:
    """Size of a head, length, and queries and keys by position and head."""
    length, size = config.get("seq_len") or config["T"], config.get("hidden_size") or config["H"]
    head, names = size // config["num_q_heads"], ("num_q_heads", "num_kv_heads")
    tensors = [random(1, length, config[name], head, dtype=config["dtype"], grad=True) for name in names]
    return head, length, tensors


def rope(config: Config) -> Iteration:
    """Llama's rotary embedding of queries and keys."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    head, length, tensors = _heads(config)
    query, key = (tensor.transpose(1, 2) for tensor in tensors)
    gradients = torch.randn_like(query), torch.randn_like(key)
    angles = _angles(head, length)
    both = torch.cat((angles, angles), dim=-1)
    cos, sin = both.cos().to(config["dtype"]), both.sin().to(config["dtype"])
    del angles, both

    def full() -> None:
        turned = apply_rotary_pos_emb(query, key, cos, sin)
        torch.autograd.grad(turned, (query, key), gradients, allow_unused=True, retain_graph=True)

    return full


def llama4_rope(config: Config) -> Iteration:
    """Llama 4's rotary embedding, in complex numbers."""
    from transformers.models.llama4.modeling_llama4 import apply_rotary_emb

    head, length, (query, key) = _heads(config)
    gradients = torch.randn_like(query), torch.randn_like(key)
    angles = _angles(head, length)
    turns = torch.polar(torch.ones_like(angles), angles)
    del angles

    def full() -> None:
        turned = apply_rotary_emb(query, key, turns)
        torch.autograd.grad(turned, (query, key), gradients, allow_unused=True, retain_graph=True)

    return full


def _rows(config: Config) -> int:
    return int(config["BT"] if "BT" in config else config["B"] * config["T"])


def kl_div(config: Config) -> Iteration:
    """`nn.KLDivLoss` of log-probabilities that come from a leaf."""
    shape = _rows(config), config["V"]
    scores = random(*shape, grad=True).log_softmax(dim=-1)
    target = random(*shape).softmax(dim=-1)
    loss = nn.KLDivLoss(reduction="batchmean")
    return to_scalar(lambda: loss(scores, target), retain=True)


def js_divergence(log_q: Tensor, log_p: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Jensen-Shannon divergence in torch operations."""
    divergence = nn.KLDivLoss(reduction="none", log_target=True)
    log_p, log_q = log_p.to(torch.float32), log_q.to(torch.float32)
    log_p, log_q = log_p.view(-1, log_p.size(-1)), log_q.view(-1, log_q.size(-1))
    middle = torch.lerp(torch.exp(log_q), torch.exp(log_p), 0.5)
    loss = 0.5 * divergence(torch.log(middle), log_p).sum(dim=-1) + 0.5 * divergence(torch.log(middle), log_q).sum(
        dim=-1
    )
    answer: Tensor = (loss / log_q.shape[0]).sum().to(dtype)
    return answer


def jsd(config: Config) -> Iteration:
    """Jensen-Shannon divergence of log-probabilities that come from a leaf."""
    shape = _rows(config), config["V"] if "V" in config else config["vocab_size"]
    scores = random(*shape, grad=True).log_softmax(dim=-1)
    target = random(*shape).log_softmax(dim=-1)
    return to_scalar(lambda: js_divergence(scores, target), retain=True)


def tvd(config: Config) -> Iteration:
    """Total variation distance."""
    shape = _rows(config), config["V"]
    scores = random(*shape, grad=True).softmax(dim=-1)
    target = random(*shape).softmax(dim=-1)

    def distance() -> Tensor:
        halves = torch.abs(scores - target) / 2.0
        return torch.sum(halves) / scores.size(0)

    return to_scalar(distance, retain=True)


def _head(config: Config) -> nn.Linear:
    return nn.Linear(config["H"], config["V"], bias=config.get("bias", False), dtype=config["dtype"]).to(CUDA)


def fused_linear_cross_entropy(config: Config) -> Iteration:
    """Language-model head and cross entropy, beside a second head of the published script."""
    other, head = _head(config), _head(config)
    hidden = random(config["BT"], config["H"], dtype=config["dtype"], grad=True)
    target = torch.randint(config["V"], (config["BT"], 1), device=CUDA).squeeze(1)
    loss = nn.CrossEntropyLoss()

    def forward() -> Tensor:
        logits = head(hidden)
        answer: Tensor = loss(logits, target)
        return answer

    return _keeping(other, to_scalar(forward))


def fused_linear_jsd(config: Config) -> Iteration:
    """Student and teacher heads and their Jensen-Shannon divergence."""
    student, teacher = _head(config), _head(config)
    shape = config["BT"], config["H"]
    student_input = random(*shape, dtype=config["dtype"], grad=True)
    teacher_input = random(*shape, dtype=config["dtype"])

    def forward() -> Tensor:
        student_logits, teacher_logits = student(student_input), teacher(teacher_input)
        student_scores = torch.log_softmax(student_logits / 1.0, dim=-1)
        teacher_scores = torch.log_softmax(teacher_logits / 1.0, dim=-1)
        return js_divergence(student_scores, teacher_scores, config["dtype"])

    return to_scalar(forward)


class NeighborhoodAttention(nn.Module):
    """Attention under a band mask, in torch operations; entries of the mask, which allocate nothing, are not set."""

    def __init__(self, size: int, num_heads: int, bias: bool) -> None:
        super().__init__()
        self.num_heads, self.head = num_heads, size // num_heads
        self.query, self.key, self.value, self.output = (nn.Linear(size, size, bias=bias) for _ in range(4))

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = self.query(hidden), self.key(hidden), self.value(hidden)
        query = self._split(query)
        key = self._split(key)
        value = self._split(value)
        scores = torch.matmul(query, key.transpose(-2, -1)) * (1.0 / math.sqrt(self.head))
        mask = torch.zeros(hidden.shape[1], hidden.shape[1], device=hidden.device, dtype=torch.bool)
        scores = scores.masked_fill(~mask, float("-inf"))
        weights = torch.softmax(scores, dim=-1)
        attended = torch.matmul(weights, value)
        attended = attended.transpose(1, 2).contiguous().view(hidden.shape)
        result: Tensor = self.output(attended)
        return result

    def _split(self, projected: Tensor) -> Tensor:
        return projected.view(*projected.shape[:2], self.num_heads, self.head).transpose(1, 2)


def fused_neighborhood_attention(config: Config) -> Iteration:
    """Neighbourhood attention, beside a second layer of the published script."""
    other, layer = (
        NeighborhoodAttention(config["hidden_size"], config["num_heads"], config["bias"]).to(CUDA) for _ in range(2)
    )
    hidden = random(config["batch_size"], config["seq_len"], config["hidden_size"], dtype=config["dtype"], grad=True)
    return _keeping(other, with_gradient(lambda: layer(hidden), torch.randn_like(hidden)))


def sparsemax(config: Config) -> Iteration:
    """Sparsemax over the vocabulary."""
    scores = random(_rows(config), config["V"], dtype=config["dtype"], grad=True)
    return with_gradient(lambda: _sparsemax(scores), torch.randn_like(scores))


def _sparsemax(scores: Tensor) -> Tensor:
    ordered, _ = torch.sort(scores, dim=-1, descending=True)
    sums = torch.cumsum(ordered, dim=-1)
    ranks = torch.arange(1, scores.size(-1) + 1, device=scores.device, dtype=scores.dtype)
    ranks = ranks.view(*[1] * (scores.dim() - 1), -1)
    bound = 1 + ranks * ordered
    support = bound > sums
    count = support.sum(dim=-1, keepdim=True).clamp(min=1)
    total = (ordered * support).sum(dim=-1, keepdim=True)
    threshold = (total - 1) / count
    return torch.clamp(scores - threshold, min=0)


def multi_token_attention(config: Config) -> Iteration:
    """Masked softmax and a convolution over the scores, beside a second convolution of the published script."""
    size, length, dtype = config["K"], config["L"], config["dtype"]

    def convolution() -> nn.Conv2d:
        channels = config["C_in"], config["C_out"]
        return nn.Conv2d(*channels, size, padding=size // 2, groups=config["groups"], dtype=dtype, device=CUDA)

    other, layer = convolution(), convolution()
    scores = random(config["B"], config["C_in"], length, length, dtype=dtype)
    gradient = torch.randn_like(scores)
    scores.requires_grad_(True)

    def forward() -> Tensor:
        mask = torch.tril(torch.ones(length, length, dtype=torch.bool, device=CUDA)).view(1, 1, length, length)
        low = torch.tensor(-1e9, device=CUDA, dtype=dtype)
        zero = torch.tensor(0.0, device=CUDA, dtype=dtype)
        masked = scores.masked_fill(~mask, low)
        weights = F.softmax(masked, dim=-1)
        result = layer(weights)
        answer: Tensor = result.masked_fill(~mask, zero)
        return answer

    return _keeping(other, with_gradient(forward, gradient))


def megatron_rms_norm(config: Config) -> Iteration:
    """`nn.RMSNorm` in bf16."""
    layer = nn.RMSNorm(config["H"], eps=1e-6).to(CUDA).to(torch.bfloat16)
    hidden = random(config["S"], config["B"], config["H"], dtype=torch.bfloat16, grad=True)

    def full() -> None:
        result = layer(hidden)
        result.sum().backward()

    return full


def megatron_swiglu(config: Config) -> Iteration:
    """SwiGLU of two halves in bf16, gradients dropped before each iteration."""
    hidden = random(config["S"], config["B"], 2 * config["ffn_local"], dtype=torch.bfloat16, grad=True)

    def swiglu() -> Tensor:
        gate, up = torch.chunk(hidden, 2, -1)
        return F.silu(gate) * up

    def full() -> None:
        hidden.grad = None
        result = swiglu()
        result.sum().backward()

    return full


def sparse_multi_token_attention(config: Config) -> Iteration:
    """Masked sparsemax and a convolution over the scores, after one iteration whose graph is dropped."""
    size, length = config["K"], config["L"]
    channels = config["C_in"], config["C_out"]
    other, layer = (nn.Conv2d(*channels, size, padding=size // 2, device=CUDA) for _ in range(2))
    scores = random(config["B"], config["C_in"], length, length, grad=True)

    def forward() -> Tensor:
        mask = torch.tril(torch.ones(length, length, dtype=torch.bool, device=CUDA)).view(1, 1, length, length)
        masked = scores.masked_fill(~mask, torch.tensor(-1e9, device=CUDA))
        result = layer(torch.clamp(masked - _threshold(masked), min=0))
        answer: Tensor = result.masked_fill(~mask, torch.tensor(0.0, device=CUDA))
        return answer

    return _keeping(other, with_gradient(forward, torch.randn_like(scores)))


def _threshold(scores: Tensor) -> Tensor:
    ordered, _ = torch.sort(scores, dim=-1, descending=True)
    sums = torch.cumsum(ordered, dim=-1)
    ranks = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype).view(1, 1, 1, -1)
    is_positive = ordered > -1e8
    condition = (1 + ranks * ordered > sums) & is_positive
    support = torch.sum(condition, dim=-1, keepdim=True)
    safe = torch.max(support, torch.ones_like(support))
    chosen = torch.gather(sums, dim=-1, index=safe.long() - 1)
    threshold = (chosen - 1) / safe.to(scores.dtype)
    return torch.where(support == 0, torch.full_like(threshold, float("inf")), threshold)


def _odds_ratio(chosen: Tensor, rejected: Tensor) -> Tensor:
    log_odds = (chosen - rejected) - (torch.log1p(-torch.exp(chosen)) - torch.log1p(-torch.exp(rejected)))
    return 0.1 * F.logsigmoid(log_odds)


def preference_loss(config: Config) -> Iteration:
    """Head, cross entropy of the chosen half and a preference term (ORPO, CPO, SimPO), beside a second head of the script."""
    if config["T"] == 4096:
        return early_preference_loss(config)
    other, head = _head(config), _head(config)
    hidden = random(config["B"], config["T"], config["H"], dtype=config["dtype"], grad=True)
    target = torch.randint(config["V"], (config["B"], config["T"]), device=CUDA)
    return _keeping(other, to_scalar(lambda: _preference(head, hidden, target)))


def _preference(head: nn.Linear, hidden: Tensor, target: Tensor) -> Tensor:
    half = hidden.shape[0] // 2
    outputs = hidden @ head.weight.t()
    logits = outputs.float()
    entropy = F.cross_entropy(logits[:half].view(-1, logits.shape[-1]), target[:half].view(-1))
    mask = target != -100
    labels = torch.where(target == -100, 0, target)
    tokens = torch.gather(logits.log_softmax(-1), dim=2, index=labels.unsqueeze(2)).squeeze(2)
    scores = (tokens * mask).sum(-1) / mask.sum(-1)
    losses = _odds_ratio(scores[:half], scores[half:])
    return entropy - losses.mean()


def early_preference_loss(config: Config) -> Iteration:
    """The first published ORPO script: no fp32 logits, heads that stay, scores averaged over the vocabulary."""
    other, head = _head(config), _head(config)
    hidden = random(config["B"], config["T"], config["H"], dtype=config["dtype"], grad=True)
    target = torch.randint(config["V"], (config["B"], config["T"]), device=CUDA)
    half = config["B"] // 2

    def forward() -> Tensor:
        logits = head(hidden)
        entropy = F.cross_entropy(logits[:half].view(-1, logits.shape[-1]), target[:half].view(-1))
        scores = F.log_softmax(logits, dim=-1).mean(dim=-1)
        return entropy - _odds_ratio(scores[:half], scores[half:]).mean()

    return _keeping(other, to_scalar(forward))


def distill_jsd_loss(config: Config) -> Iteration:
    """Distillation: cross entropy and Jensen-Shannon divergence, the student half as wide; another pair of heads beside."""
    narrow = {**config, "H": config["H"] // 2}
    others = _head(narrow), _head(config)
    student, teacher = _head(narrow), _head(config)
    made = random(config["BT"], narrow["H"], dtype=config["dtype"])
    _other_input, student_input = (made.detach().clone().requires_grad_(True) for _ in range(2))
    teacher_input = random(config["BT"], config["H"], dtype=config["dtype"])
    target = torch.randint(0, config["V"], (config["BT"],), device=CUDA)

    def forward() -> Tensor:
        student_outputs = student_input @ student.weight.t()
        with torch.no_grad():
            teacher_outputs = teacher_input @ teacher.weight.t()
        student_logits, teacher_logits = student_outputs.float(), teacher_outputs.float()
        hard = F.cross_entropy(student_logits, target)
        student_logits /= 1.0
        teacher_logits /= 1.0
        return 0.5 * hard + 0.5 * _soft_loss(student_logits, teacher_logits)

    return _keeping((others, made, _other_input), to_scalar(forward))


def _soft_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    student, teacher = F.log_softmax(student_logits, dim=-1), F.log_softmax(teacher_logits, dim=-1)
    mean = 0.5 * student.exp() + 0.5 * teacher.exp()
    log_mean = mean.log()
    student_term = F.kl_div(log_mean, student, reduction="batchmean", log_target=True)
    teacher_term = F.kl_div(log_mean, teacher, reduction="batchmean", log_target=True)
    return 0.5 * teacher_term + 0.5 * student_term


OPERATIONS: dict[str, Builder] = {
    "cross_entropy": cross_entropy,
    "distill_jsd_loss": distill_jsd_loss,
    "embedding": embedding,
    "fused_add_rms_norm": fused_add_rms_norm,
    "fused_linear_cpo_loss": preference_loss,
    "fused_linear_cross_entropy": fused_linear_cross_entropy,
    "fused_linear_jsd": fused_linear_jsd,
    "fused_linear_orpo_loss": preference_loss,
    "fused_linear_simpo_loss": preference_loss,
    "fused_neighborhood_attention": fused_neighborhood_attention,
    "geglu": gated_mlp,
    "group_norm": group_norm,
    "jsd": jsd,
    "kl_div": kl_div,
    "layer_norm": layer_norm,
    "llama4_rope": llama4_rope,
    "megatron_rms_norm": megatron_rms_norm,
    "megatron_swiglu": megatron_swiglu,
    "multi_token_attention": multi_token_attention,
    "rms_norm": rms_norm,
    "rope": rope,
    "sparse_multi_token_attention": sparse_multi_token_attention,
    "sparsemax": sparsemax,
    "swiglu": gated_mlp,
    "tiled_geglu": gated_mlp,
    "tiled_swiglu": gated_mlp,
    "tvd": tvd,
}
