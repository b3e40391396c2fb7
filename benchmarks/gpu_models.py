"""Models of the families that people train, plain torch, in shapes that a GPU of 16 GiB trains."""

from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Residual(nn.Module):
    """`x + body(x)`, or `shortcut(x) + body(x)`, then `after`."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut or nn.Identity(), after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.shortcut(x) + self.body(x))  # type: ignore[no-any-return]


def conv_norm(inside: int, outside: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias that keeps the size at stride 1, and its BatchNorm."""
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outside)]


def _shortcut(inside: int, outside: int, stride: int) -> nn.Module | None:
    return nn.Sequential(*conv_norm(inside, outside, 1, stride=stride)) if (inside, stride) != (outside, 1) else None


def _basic(inside: int, width: int, stride: int) -> tuple[nn.Module, int]:
    body = [*conv_norm(inside, width, 3, stride=stride), nn.ReLU(inplace=True), *conv_norm(width, width, 3)]
    return Residual(nn.Sequential(*body), _shortcut(inside, width, stride), nn.ReLU(inplace=True)), width


def _bottleneck(inside: int, width: int, stride: int) -> tuple[nn.Module, int]:
    body = [
        *conv_norm(inside, width, 1), nn.ReLU(inplace=True),
        *conv_norm(width, width, 3, stride=stride), nn.ReLU(inplace=True),
        *conv_norm(width, 4 * width, 1),
    ]  # fmt: skip
    return Residual(nn.Sequential(*body), _shortcut(inside, 4 * width, stride), nn.ReLU(inplace=True)), 4 * width


def resnet(depth: int, *, num_classes: int = 1000) -> nn.Module:
    """ResNet-18 or ResNet-50 (He et al. 2016, arXiv:1512.03385)."""
    make, counts = {18: (_basic, (2, 2, 2, 2)), 50: (_bottleneck, (3, 4, 6, 3))}[depth]
    layers = [*conv_norm(3, 64, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, count in enumerate(counts):
        for block in range(count):
            layer, channels = make(channels, 64 << stage, 2 if stage and not block else 1)
            layers.append(layer)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of an image, as ConvNeXt does it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext(*, num_classes: int = 1000) -> nn.Module:
    """ConvNeXt-T's stages, two blocks each (Liu et al. 2022, arXiv:2201.03545)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), ChannelNorm(96)]
    for stage in range(4):
        width = 96 << stage
        if stage:
            layers += [ChannelNorm(width // 2), nn.Conv2d(width // 2, width, 2, 2)]
        for _ in range(2):
            body = [
                nn.Conv2d(width, width, 7, padding=3, groups=width), ChannelNorm(width),
                nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1),
            ]  # fmt: skip
            layers.append(Residual(nn.Sequential(*body)))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(768, num_classes))


def mobilenet(*, num_classes: int = 1000) -> nn.Module:
    """Inverted residuals with depthwise convolutions (MobileNetV2, Sandler et al. 2018, arXiv:1801.04381)."""
    layers = [*conv_norm(3, 32, 3, stride=2), nn.ReLU6(inplace=True)]
    channels = 32
    for width, count, stride in ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)):
        for block in range(count):
            inner, step = 6 * channels, stride if block == 0 else 1
            body = nn.Sequential(
                *conv_norm(channels, inner, 1), nn.ReLU6(inplace=True),
                *conv_norm(inner, inner, 3, stride=step, groups=inner), nn.ReLU6(inplace=True),
                *conv_norm(inner, width, 1),
            )  # fmt: skip
            layers.append(Residual(body) if (channels, step) == (width, 1) else body)
            channels = width
    head = [*conv_norm(channels, 1280, 1), nn.ReLU6(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *head, nn.Dropout(0.2), nn.Linear(1280, num_classes))


class UNet(nn.Module):
    """Three levels down and up with skip connections (Ronneberger et al. 2015, arXiv:1505.04597)."""

    def __init__(self, width: int = 32, num_classes: int = 4) -> None:
        super().__init__()
        widths = [width << level for level in range(4)]
        self.down = nn.ModuleList(self._double(3 if i == 0 else widths[i - 1], w) for i, w in enumerate(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths[:-1]))
        self.merge = nn.ModuleList(self._double(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, num_classes, 1)

    @staticmethod
    def _double(inside: int, outside: int) -> nn.Module:
        act = nn.ReLU(inplace=True)
        return nn.Sequential(*conv_norm(inside, outside, 3), act, *conv_norm(outside, outside, 3), act)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, layer in enumerate(self.down):
            x = layer(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips[:-1]), strict=True):
            x = merge(torch.cat((skip, up(x)), 1))
        return self.head(x).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


def autoencoder(*, convolutional: bool) -> nn.Module:
    """An autoencoder of images, dense or with strided convolutions; its output has the input's shape."""
    if convolutional:
        down = [[nn.Conv2d(a, b, 4, 2, 1), nn.ReLU()] for a, b in ((3, 64), (64, 128), (128, 256))]
        up = [[nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU()] for a, b in ((256, 128), (128, 64))]
        return nn.Sequential(*chain(*down), *chain(*up), nn.ConvTranspose2d(64, 3, 4, 2, 1))
    widths = (3 * 64 * 64, 2048, 256, 2048, 3 * 64 * 64)
    dense = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.GELU())]
    return nn.Sequential(nn.Flatten(), *dense[:-1], nn.Unflatten(1, (3, 64, 64)))


class Attention(nn.Module):
    """Attention with `kv_heads` key and value heads (grouped queries, Ainslie et al. 2023, arXiv:2305.13245)."""

    def __init__(self, width: int, heads: int, *, kv_heads: int | None = None, causal: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.causal, self.dropout = heads, kv_heads or heads, causal, dropout
        self.head_width = width // heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * self.kv_heads * self.head_width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, time, width = x.shape
        query = self.query(x).view(batch, time, self.heads, -1).transpose(1, 2)
        key, value = self.key_value(x).view(batch, time, 2 * self.kv_heads, -1).transpose(1, 2).chunk(2, 1)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=self.causal,
            dropout_p=self.dropout if self.training else 0.0, enable_gqa=self.kv_heads != self.heads,
        )  # fmt: skip
        return self.out(attended.transpose(1, 2).reshape(batch, time, width))  # type: ignore[no-any-return]


class GatedFeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 8 * width // 3 // 64 * 64
        self.gate, self.up, self.down = nn.Linear(width, inner), nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


class TransformerBlock(nn.Module):
    """A pre-norm block of attention and a feed-forward network."""

    def __init__(self, width: int, attention: Attention, *, is_llama: bool, dropout: float) -> None:
        super().__init__()
        norm = nn.RMSNorm if is_llama else nn.LayerNorm
        self.norm1, self.norm2, self.attention = norm(width), norm(width), attention
        dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.feed_forward = GatedFeedForward(width) if is_llama else dense
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.feed_forward(self.norm2(x)))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A language model: GPT-2-like, BERT-like (not causal, padding masked) or Llama-like (grouped queries, RMSNorm)."""

    def __init__(
        self, *, width: int, layers: int, heads: int, vocabulary: int = 32_000, kind: str = "gpt",
        dropout: float = 0.0, checkpoints: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kind, self.checkpoints = kind, checkpoints
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(1024, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width,
                Attention(
                    width,
                    heads,
                    kv_heads=heads // 4 if kind == "llama" else None,
                    causal=kind != "bert",
                    dropout=dropout,
                ),
                is_llama=kind == "llama",
                dropout=dropout,
            )
            for _ in range(layers)
        )
        self.norm = nn.RMSNorm(width) if kind == "llama" else nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if kind != "llama":
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        mask = (tokens != 0)[:, None, None, :] if self.kind == "bert" else None
        for block in self.blocks:
            x = checkpoint(block, x, mask, use_reentrant=False) if self.checkpoints else block(x, mask)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """ViT over patches of 16 pixels (Dosovitskiy et al. 2021, arXiv:2010.11929)."""

    def __init__(self, *, width: int = 384, layers: int = 8, heads: int = 6, size: int = 224) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.places = nn.Parameter(torch.zeros(1, (size // 16) ** 2, width))
        self.blocks = nn.Sequential(
            *(
                TransformerBlock(width, Attention(width, heads, causal=False, dropout=0.0), is_llama=False, dropout=0.0)
                for _ in range(layers)
            )
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.blocks(x)).mean(1))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """A language model on LSTM or GRU layers."""

    def __init__(
        self, kind: type[nn.LSTM] | type[nn.GRU], *, bidirectional: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(8000, 256)
        self.layers = kind(256, 512, 2, batch_first=True, bidirectional=bidirectional, dropout=dropout)
        self.head = nn.Linear(1024 if bidirectional else 512, 8000)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layers(self.tokens(tokens))[0])  # type: ignore[no-any-return]


class Recommender(nn.Module):
    """Bags of categories and a dense tower, as in DLRM (Naumov et al. 2019, arXiv:1906.00091)."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(200_000, 64, mode="mean") for _ in range(4))
        self.tower = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 2))

    def forward(self, categories: Tensor) -> Tensor:
        bags = [bag(ids) for bag, ids in zip(self.bags, categories.unbind(1), strict=True)]
        return self.tower(torch.cat(bags, 1))  # type: ignore[no-any-return]
