"""A two-layer causal transformer on characters of the Python language reference, which every Python installation has."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrtool.examples.loading import loaders

CONTEXT = 64
WIDTH = 64
HEADS = 4


@cache
def text() -> tuple[int, Tensor]:
    """Number of different characters, and the text as their indices (int64), from `pydoc_data.topics`."""
    from pydoc_data.topics import topics

    characters = "".join(topics[name] for name in sorted(topics)).encode("ascii", "replace")
    alphabet = sorted(set(characters))
    index = torch.zeros(256, dtype=torch.long)
    index[torch.tensor(alphabet)] = torch.arange(len(alphabet))
    return len(alphabet), index[torch.frombuffer(bytearray(characters), dtype=torch.uint8).long()]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class CharTransformer(nn.Module):
    def __init__(self, num_characters: int) -> None:
        super().__init__()
        self.token = nn.Embedding(num_characters, WIDTH)
        self.position = nn.Parameter(torch.randn(CONTEXT, WIDTH) * 0.02)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, num_characters)

    def forward(self, characters: Tensor) -> Tensor:
        x = self.token(characters) + self.position[: characters.shape[1]]
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


def next_character_loss(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    (windows,) = batch
    return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


def build(batch_size: int = 16, seed: int = 0) -> dict[str, Any]:
    num_characters, characters = text()
    windows = characters[: len(characters) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)
    model = CharTransformer(num_characters)
    train_loader, val_loader = loaders(
        (windows,), num_train=len(windows) * 9 // 10, batch_size=batch_size, seed=seed
    )  # fmt: skip
    return {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-3),
        "train_loader": train_loader,
        "val_loader": val_loader,
        "loss": next_character_loss,
    }
