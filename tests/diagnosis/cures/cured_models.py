"""Workloads of which it is known by hand where their memory goes, so that what a cure saves can be worked out."""

from typing import Any

import torch
from torch import Tensor, nn

WIDTH = 256
ROWS = 4096
ACTIVATION = ROWS * WIDTH * 4
WEIGHT = WIDTH * WIDTH * 4


class Block(nn.Module):
    """Three layers; backward needs the input and two results within, and the third result as the next block's input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


class Tower(nn.Module):
    """Blocks one after the other: memory grows with their number by what one of them keeps."""

    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x.sum()


def mean_loss(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch)  # type: ignore[no-any-return]


def tower(num_blocks: int = 2, rows: int = ROWS, optimizer: str = "SGD", **more: Any) -> dict[str, Any]:
    """A tower whose activations are most of its memory."""
    model = Tower(num_blocks)
    made = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-3)
    return {"model": model, "optimizer": made, "train_loader": [torch.zeros(rows, WIDTH)], "loss": mean_loss, **more}


def weights(num_layers: int = 4, optimizer: str = "Adam", width: int = 1024, **options: Any) -> dict[str, Any]:
    """Equal layers and a batch of one row: the optimizer's step is where most memory is taken."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(num_layers)))
    made = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-3, **options)
    return {"model": model, "optimizer": made, "train_loader": [torch.zeros(2, width)],
            "loss": lambda model, batch: model(batch).sum()}  # fmt: skip


def keeps_gradients(num_blocks: int = 2) -> dict[str, Any]:
    """A step that zeroes its gradients where they are."""

    def step(model: nn.Module, batch: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad(set_to_none=False)
        loss: Tensor = model(batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return tower(num_blocks, step=step)


def evaluates(num_blocks: int = 2) -> dict[str, Any]:
    """A step that evaluates on four times the rows, with gradients, before it trains."""

    def step(model: nn.Module, batch: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        model.eval()
        score = model(batch.repeat(4, 1))
        del score
        model.train()
        optimizer.zero_grad()
        loss: Tensor = model(batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return tower(num_blocks, step=step)


def varying(*megabytes: int) -> dict[str, Any]:
    """Batches of these sizes in MiB, of which a step holds one at a time: all that is ever allocated, but for a weight."""
    model = nn.Linear(1, 1, bias=False)
    batches = [torch.zeros(size * 2**18, 1) for size in megabytes]

    def step(model: nn.Module, batch: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        loss: Tensor = next(model.parameters()).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "optimizer": optimizer, "train_loader": batches, "step": step}
