"""What is printed to paste runs in the framework it is for, and sets the LRs that were suggested at every step."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, LinearLR

from lrtool.lr.snippets import WIDTH, Training, snippet
from lrtool.results import GroupRange
from lrtool.workload.adapters import as_workload
from lrtool.workload.frameworks.framework import Framework, framework_of, group_names
from lrtool.workload.target import load
from tests import WORKLOADS

ONE = GroupRange(base_lr=0.01, max_lr=0.3, suggested_lr=0.1)
TWO = GroupRange(base_lr=1e-5, max_lr=0.003, suggested_lr=0.001)


def training(framework: Framework = "torch", **others: Any) -> Training:
    return Training(framework=framework, optimizer="SGD", step_size_up=4, steps_per_epoch=2, **others)


def expected(groups: list[GroupRange], num_steps: int) -> list[list[float]]:
    """The LRs of torch's own CyclicLR on an optimizer that never had another scheduler."""
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))]} for _ in groups], lr=1.0)
    base, high = [each.base_lr or 0.0 for each in groups], [each.max_lr or 0.0 for each in groups]
    scheduler = CyclicLR(optimizer, base_lr=base, max_lr=high, step_size_up=4, cycle_momentum=False)
    return lrs_of(optimizer, scheduler.step, num_steps)


def lrs_of(optimizer: torch.optim.Optimizer, move_on: Callable[[], Any], num_steps: int) -> list[list[float]]:
    found = []
    for _ in range(num_steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        move_on()
    return found


@pytest.mark.parametrize("framework", ["torch", "lightning", "transformers"])
@pytest.mark.parametrize("groups", [[ONE], [ONE, TWO], [ONE] * 30, [ONE, TWO] * 15])
def test_it_is_python_and_fits_the_terminal(framework: Framework, groups: list[GroupRange]) -> None:
    lines = snippet(groups, training(framework))

    ast.parse("\n".join(lines))
    assert max(map(len, lines)) <= WIDTH
    one_cycle = (
        "\n".join(line.lstrip(" #") for line in lines).partition("or OneCycleLR(")[2].partition("cycle_momentum")[0]
    )
    ast.parse(f"OneCycleLR({one_cycle})")


def test_there_is_none_without_a_suggestion() -> None:
    nothing = GroupRange(base_lr=None, max_lr=None, suggested_lr=None)

    assert snippet([ONE, nothing], training()) == ()


@pytest.mark.parametrize("groups", [[ONE], [ONE, TWO]])
def test_in_plain_torch_the_first_step_is_at_base_lr_also_after_another_scheduler(groups: list[GroupRange]) -> None:
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))]} for _ in groups], lr=0.5, momentum=0.9)
    LinearLR(optimizer)
    names: dict[str, Any] = {"CyclicLR": CyclicLR, "optimizer": optimizer}
    exec("\n".join(snippet(groups, training(has_initial_lr=True))), names)

    assert lrs_of(optimizer, names["scheduler"].step, 20) == expected(groups, 20)


def test_lightning_steps_the_schedule_once_a_batch(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    from tests.workloads.lightning_module import WithoutData, loader

    lines = snippet([ONE], training("lightning"))
    assert "optimizer = ...  # SGD, made as it is now" in lines[1]
    names: dict[str, Any] = {"CyclicLR": CyclicLR, "SGD": torch.optim.SGD}
    made = "optimizer = SGD(self.parameters(), lr=1.0)"
    exec("\n".join(lines).replace("optimizer = ...", made), names)
    seen: list[list[float]] = []

    class Own(WithoutData):  # type: ignore[misc]
        configure_optimizers = names["configure_optimizers"]

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            seen.append([group["lr"] for group in self.optimizers().param_groups])

    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Own(), loader())

    assert seen == expected([ONE], 16)


@pytest.mark.parametrize("groups", [[ONE, ONE], [ONE, TWO]])
def test_the_trainer_keeps_the_schedule_it_is_given(groups: list[GroupRange], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from transformers import TrainerCallback

    from tests.workloads.hf_trainer import build

    trainer = build(max_steps=12)
    lines = snippet(groups, training("transformers", group_names=("decay", "no decay")))
    exec(
        "\n".join(line for line in lines if "TrainingArguments" not in line), {"CyclicLR": CyclicLR, "trainer": trainer}
    )
    seen: list[list[float]] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, optimizer: Any, **__: Any) -> None:
            seen.append([group["lr"] for group in optimizer.param_groups])

    trainer.add_callback(Watch())
    trainer.args.output_dir = str(tmp_path)
    trainer.args.save_strategy = "no"
    trainer.train()

    assert seen == expected(groups, 12)
    assert ("# groups: decay, no decay" in lines) is (groups[0] != groups[1])
    assert ("learning_rate=0.1)" in lines[0]) is (groups[0] == groups[1])


def test_groups_go_by_the_names_they_have(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    named: list[dict[str, Any]] = [
        {"params": [model.weight], "name": "backbone"},
        {"params": [model.bias], "name": "head"},
    ]
    half_named: list[dict[str, Any]] = [named[0], {"params": [model.bias]}]
    for groups, names in ((named, ("backbone", "head")), (half_named, ())):
        optimizer = torch.optim.SGD(groups, lr=0.1)
        workload = as_workload(
            {"model": model, "optimizer": optimizer, "train_loader": [1, 2], "loss": lambda model, batch: model(batch)},
            name="build()",
        )
        assert group_names(workload) == names
        assert framework_of(workload) == "torch"


def test_the_trainers_groups_are_decay_and_no_decay_and_those_of_ones_own_optimizer_have_no_names() -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    def built(function: str) -> Any:
        return load(f"{WORKLOADS / 'hf_trainer.py'}:{function}").build(seed=0, device=torch.device("cpu"))

    assert group_names(built("build")) == ("decay", "no decay")
    assert group_names(built("with_own_optimizer")) == ()
    assert framework_of(built("with_own_optimizer")) == "transformers"
