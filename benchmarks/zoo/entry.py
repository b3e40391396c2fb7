"""What an entry of the model zoo is: a small training set-up of a library, made from configuration alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Setup = dict[str, Any]
"""What a factory returns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A model, the packages that it needs, and what builds its training set-up."""

    name: str
    packages: tuple[str, ...]
    build: Callable[[], Any]

    @property
    def library(self) -> str:
        return self.name.split("/", maxsplit=1)[0]


def training(
    model: nn.Module,
    batch: Any,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    *,
    parameters: Any = None,
) -> Setup:
    """Training on one batch, again and again. SGD goes one parameter at a time on either device, so that what differs is
    the model's own.
    """
    trained = [each for each in parameters or model.parameters() if each.requires_grad]
    setup: Setup = {
        "model": model,
        "optimizer": torch.optim.SGD(trained, lr=1e-3, momentum=0.9, foreach=False),
        "train_loader": [batch],
    }
    return setup if loss is None else setup | {"loss": loss}


def classification(
    model: nn.Module, *, image: tuple[int, ...] = (3, 64, 64), classes: int = 10, batch: int = 2
) -> Setup:
    """Cross-entropy of images; of a model that yields several outputs, of the first."""
    images, labels = torch.randn(batch, *image), torch.randint(0, classes, (batch,))
    return training(model, (images, labels), classification_loss)


def classification_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    images, labels = batch
    output = model(images)
    logits = output if isinstance(output, Tensor) else output[0]
    return nn.functional.cross_entropy(logits, labels)


def tokens(batch: int = 2, length: int = 32, vocabulary: int = 256) -> Tensor:
    return torch.randint(4, vocabulary, (batch, length))
