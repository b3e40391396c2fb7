"""In which framework a training is written, and what that calls the parameter groups of its optimizer."""

import math
from functools import partial
from typing import Any, Literal

import torch

from lrtool.errors import WorkloadError
from lrtool.workload.adapters import is_lightning_module, trainer_loss
from lrtool.workload.workload import Workload, loader_length

Framework = Literal["torch", "lightning", "transformers"]
NAME_KEYS = ("name", "group_name")
"""Under which a parameter group may carry its name: Lightning's LearningRateMonitor reads the first."""


def framework_of(workload: Workload) -> Framework:
    """Which adapter made the workload; "torch" for one that was given as it is."""
    if is_lightning_module(workload.model):
        return "lightning"
    is_trainers = isinstance(workload.loss, partial) and workload.loss.func is trainer_loss
    return "transformers" if is_trainers else "torch"


def group_names(workload: Workload) -> tuple[str, ...]:
    """What the groups are called, by themselves or by the Trainer that made them; empty where not all have names."""
    groups = workload.optimizer.param_groups
    found = [next((str(group[key]) for key in NAME_KEYS if isinstance(group.get(key), str)), "") for group in groups]
    if all(found):
        return tuple(found)
    return ("decay", "no decay") if _are_trainers(workload) else ()


def own_scheduler(workload: Workload) -> Any:
    """The scheduler that the user's training has. Raises WorkloadError where it has none."""
    if workload.scheduler is not None:
        return workload.scheduler
    if framework_of(workload) != "transformers":
        raise WorkloadError(
            "build() returns no scheduler to keep",
            hint='add "scheduler": ... to what it returns, or leave --schedule own out',
        )
    assert isinstance(workload.loss, partial)
    trainer = workload.loss.args[0]
    per_epoch = max(1, (loader_length(workload.train_loader) or 1) // workload.accumulate)
    given = trainer.args.max_steps
    count = given if given > 0 else math.ceil(trainer.args.num_train_epochs * per_epoch)
    return trainer.lr_scheduler or trainer.create_scheduler(count, optimizer=workload.optimizer)


def _are_trainers(workload: Workload) -> bool:
    """Whether the groups are the two that transformers' Trainer makes: matrices, and what is not to decay."""
    if framework_of(workload) != "transformers":
        return False
    assert isinstance(workload.loss, partial)
    trainer, groups = workload.loss.args[0], workload.optimizer.param_groups
    if len(groups) != 2 or not hasattr(trainer, "get_decay_parameter_names"):
        return False
    to_decay = set(trainer.get_decay_parameter_names(workload.model))
    wanted = {id(each) for name, each in workload.model.named_parameters() if name in to_decay and each.requires_grad}
    return {id(each) for each in groups[0]["params"] if isinstance(each, torch.Tensor)} == wanted
