"""Paragraphs of every length, each batch padded to its longest: what one frees seldom fits the next, so memory fragments.

The order of the batches is that of the book in every epoch, so that a run can be predicted from one epoch.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from lrtool.examples.char_transformer import WIDTH, Block

NUM_CHARACTERS = 128
PADDING = 0
LONGEST = 768
NUM_PARAGRAPHS = 640


@cache
def paragraphs() -> list[Tensor]:
    """Paragraphs of the Python language reference as ASCII codes (int64), the overlong ones cut off."""
    from pydoc_data.topics import topics

    texts = [text.strip() for name in sorted(topics) for text in topics[name].split("\n\n")]
    encoded = [text[: LONGEST + 1].encode("ascii", "replace") for text in texts if len(text) > 1]
    return [torch.frombuffer(bytearray(each), dtype=torch.uint8).long() for each in encoded[:NUM_PARAGRAPHS]]


class ParagraphModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(NUM_CHARACTERS, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, NUM_CHARACTERS)

    def forward(self, characters: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.blocks(self.token(characters))))
        return logits


def padded(batch: list[Tensor]) -> Tensor:
    return pad_sequence(batch, batch_first=True, padding_value=PADDING)


def next_character_loss(model: nn.Module, batch: Tensor) -> Tensor:
    return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten(), ignore_index=PADDING)


def build(batch_size: int = 32) -> dict[str, Any]:
    model = ParagraphModel()
    return {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-3),
        "train_loader": DataLoader(paragraphs(), batch_size, collate_fn=padded),  # type: ignore[arg-type]
        "loss": next_character_loss,
    }
