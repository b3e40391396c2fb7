"""Two parameter groups and a scheduler of the user's own, in the kinds there are, and functions that scale a cycle."""

import torch
from torch import nn
from torch.optim import lr_scheduler

LRS = (0.1, 0.01)


def halving(cycle):
    return 1 / 2 ** (cycle - 1)


def fading(step):
    return 0.9**step


def scheduler_of(kind, optimizer):
    made = {
        "sequential": lambda: lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4), lr_scheduler.CosineAnnealingLR(optimizer, 8)],
            [4],
        ),
        "onecycle": lambda: lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=12),
        "cyclic": lambda: lr_scheduler.CyclicLR(optimizer, 0.001, 0.2, step_size_up=3, mode="triangular2"),
        "lambda": lambda: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1)),
        "plateau": lambda: lr_scheduler.ReduceLROnPlateau(optimizer, patience=1),
        "none": lambda: None,
    }
    return made[kind]()


def optimizer_of(model, momentum=0.9, tensor=False):
    groups = [
        {"params": layer.parameters(), "lr": torch.tensor(lr) if tensor else lr}
        for layer, lr in zip(model, LRS, strict=True)
    ]
    return torch.optim.Adam(groups, foreach=False) if tensor else torch.optim.SGD(groups, lr=1.0, momentum=momentum)


def build(kind="none", momentum=0.9, tensor=False):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    optimizer = optimizer_of(model, momentum, tensor)
    return {
        "model": model,
        "optimizer": optimizer,
        "train_loader": [(torch.randn(2, 4), torch.randn(2, 1)) for _ in range(4)],
        "loss": lambda model, batch: ((model(batch[0]) - batch[1]) ** 2).mean(),
        "scheduler": scheduler_of(kind, optimizer),
    }


def moves_itself(kind="cyclic", every=1):
    """Its step moves the scheduler on, at every step or at every second one."""
    workload = build(kind)
    count = 0

    def step(model, batch, optimizer, scheduler):
        nonlocal count
        optimizer.zero_grad()
        loss = ((model(batch[0]) - batch[1]) ** 2).mean()
        loss.backward()
        optimizer.step()
        count += 1
        if count % every == 0:
            scheduler.step()
        return loss

    return {key: value for key, value in workload.items() if key != "loss"} | {"step": step}
