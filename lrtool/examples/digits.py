"""Handwritten digits (1,797 images of 8 x 8 pixels, UCI, CC BY 4.0) with an MLP, or with a small CNN with BatchNorm."""

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrtool.examples.loading import loaders


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Images (1797, 1, 8, 8), float32, centred near zero, and labels (1797,), int64."""
    with files("lrtool.examples").joinpath("data/digits.npz").open("rb") as file, np.load(file) as data:
        images = torch.from_numpy(data["images"]).float().div(16).sub(0.3).unsqueeze(1)
        return images, torch.from_numpy(data["labels"]).long()


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    images, labels = batch
    return F.cross_entropy(model(images), labels)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )  # fmt: skip


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(512, 10),
    )  # fmt: skip


def build(batch_size: int = 64, seed: int = 0) -> dict[str, Any]:
    return _workload(mlp(), batch_size, seed)


def build_cnn(batch_size: int = 32, seed: int = 0) -> dict[str, Any]:
    return _workload(cnn(), batch_size, seed)


def _workload(model: nn.Module, batch_size: int, seed: int) -> dict[str, Any]:
    images, labels = digits()
    train_loader, val_loader = loaders((images, labels), num_train=1400, batch_size=batch_size, seed=seed)
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "train_loader": train_loader,
        "val_loader": val_loader,
        "loss": cross_entropy,
    }
