"""The bundled workloads with batches of (inputs, labels), which every finder takes, each with SGD and with AdamW."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lrtool.examples import char_transformer, digits

Pair = tuple[Tensor, Tensor]
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgdm": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "adamw": partial(torch.optim.AdamW, lr=1e-3),
}
LOWEST_LR = {"sgdm": 1e-3, "adamw": 1e-4}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One freshly built training setup; `criterion(output, labels)` is the loss."""

    model: nn.Module
    make_optimizer: Callable[..., torch.optim.Optimizer]
    train_loader: DataLoader[Pair]
    val_loader: DataLoader[Pair]
    criterion: Callable[[Tensor, Tensor], Tensor]

    def as_workload(self) -> dict[str, Any]:
        """What a `build()` for lrtool returns."""
        return {
            "model": self.model,
            "optimizer": self.make_optimizer(self.model.parameters()),
            "train_loader": self.train_loader,
            "val_loader": self.val_loader,
            "loss": lambda model, batch: self.criterion(model(batch[0]), batch[1]),
        }


@dataclass(frozen=True, kw_only=True)
class Case:
    """A workload under one optimizer, the steps of a training run, and the LR from which four decades are worth trying."""

    name: str
    build: Callable[..., dict[str, Any]]
    optimizer: str
    as_pair: Callable[[Any], Pair]
    criterion: Callable[[Tensor, Tensor], Tensor]
    num_steps: int
    lowest_lr: float

    def setup(self, seed: int) -> Setup:
        """The setup from `seed`: weights and the order of the batches."""
        torch.manual_seed(seed)
        built = self.build(seed=seed)
        return Setup(
            model=built["model"],
            make_optimizer=OPTIMIZERS[self.optimizer],
            train_loader=_paired(built["train_loader"], self.as_pair, seed=seed),
            val_loader=_paired(built["val_loader"], self.as_pair, seed=None),
            criterion=self.criterion,
        )


def next_characters(batch: tuple[Tensor]) -> Pair:
    (windows,) = batch
    return windows[:, :-1], windows[:, 1:]


def image_and_label(batch: Pair) -> Pair:
    return batch


def characters_cross_entropy(logits: Tensor, characters: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), characters.flatten())


def all_cases() -> list[Case]:
    """Three workloads, two optimizers each."""
    cases = []
    for optimizer in OPTIMIZERS:
        for name, build in (("digits", digits.build), ("digits-cnn", digits.build_cnn)):
            cases.append(
                Case(
                    name=f"{name}-{optimizer}", build=build, optimizer=optimizer, as_pair=image_and_label,
                    criterion=F.cross_entropy, num_steps=300, lowest_lr=LOWEST_LR[optimizer],
                )
            )  # fmt: skip
        cases.append(
            Case(
                name=f"char-transformer-{optimizer}", build=char_transformer.build, optimizer=optimizer,
                as_pair=next_characters, criterion=characters_cross_entropy, num_steps=200, lowest_lr=LOWEST_LR[optimizer],
            )
        )  # fmt: skip
    return cases


def _paired(loader: DataLoader[Any], as_pair: Callable[[Any], Pair], *, seed: int | None) -> DataLoader[Pair]:
    """The same dataset and batch size, batches as pairs; shuffled from `seed`, in order where it is None."""
    return DataLoader(
        loader.dataset, loader.batch_size, shuffle=seed is not None, drop_last=seed is not None, collate_fn=as_pair,
        generator=None if seed is None else torch.Generator().manual_seed(seed),
    )  # fmt: skip
