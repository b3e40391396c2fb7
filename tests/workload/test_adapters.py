"""What a factory may return instead of a dict: a LightningModule or a Hugging Face Trainer, of the real libraries."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lrtool
from lrtool.errors import WorkloadError
from lrtool.workload.batches import Batches
from lrtool.workload.devices import place
from lrtool.workload.step import make_step
from lrtool.workload.target import load
from lrtool.workload.workload import Workload

CPU = torch.device("cpu")


@pytest.fixture
def lightning(workload_file: Callable[[str], Path]) -> Callable[..., Workload]:
    """The workload of one of the factories in lightning_module.py."""
    pytest.importorskip("lightning", reason="needs the extra lrtool[lightning]")
    file = workload_file("lightning_module")

    def built(attribute: str = "build", **params: Any) -> Workload:
        return load(f"{file}:{attribute}", params=params).build(seed=0, device=CPU)

    return built


@pytest.fixture
def trainer(workload_file: Callable[[str], Path]) -> Callable[..., Workload]:
    """The workload of one of the factories in hf_trainer.py."""
    pytest.importorskip("transformers", reason="needs the extra lrtool[transformers]")
    pytest.importorskip("accelerate", reason="needs the extra lrtool[transformers]")
    file = workload_file("hf_trainer")

    def built(attribute: str = "build", **params: Any) -> Workload:
        return load(f"{file}:{attribute}", params=params).build(seed=0, device=CPU)

    return built


def losses(setup: Workload, count: int = 3) -> list[float]:
    place(setup, CPU)
    step = make_step(setup, CPU, Batches(setup.train_loader))
    torch.manual_seed(0)
    return [step().item() for _ in range(count)]


def refusal(call: Callable[[], Any]) -> WorkloadError:
    with pytest.raises(WorkloadError) as refused:
        call()
    return refused.value


# --- detection --------------------------------------------------------------------------------------------------------


def test_a_plain_range_test_imports_neither_lightning_nor_transformers() -> None:
    code = (
        "import sys, lrtool; lrtool.range_test('digits', num_steps=12, device='cpu');"
        "print([name for name in ('lightning', 'pytorch_lightning', 'transformers', 'accelerate') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_class_of_the_same_name_from_elsewhere_is_no_trainer(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("class Trainer: pass\ndef build(): return Trainer()\n")
    error = refusal(lambda: load(str(tmp_path / "model.py")).build(seed=0, device=CPU))
    assert error.message == "build() returned an object (Trainer), which is no workload"


# --- Lightning --------------------------------------------------------------------------------------------------------


def test_a_lightning_module_trains_as_its_dict_would(lightning: Callable[..., Workload]) -> None:
    assert losses(lightning("build")) == losses(lightning("as_dict"))


@pytest.mark.parametrize("attribute", ["WithData", "with_datamodule", "with_loader"])
def test_a_module_may_be_the_target_itself_or_come_with_its_data(
    lightning: Callable[..., Workload], attribute: str
) -> None:
    assert losses(lightning(attribute)) == losses(lightning("build"))


def test_arguments_of_a_module_class_are_set_as_those_of_a_function(lightning: Callable[..., Workload]) -> None:
    assert lightning("WithData", lr=0.25).optimizer.param_groups[0]["lr"] == 0.25


def test_a_range_test_runs_on_a_lightning_file(workload_file: Callable[[str], Path]) -> None:
    pytest.importorskip("lightning", reason="needs the extra lrtool[lightning]")
    result = lrtool.range_test(str(workload_file("lightning_module")), device="cpu")
    assert result.optimizer == "SGD"
    assert result.max_lr is not None
    assert result.steps_per_epoch == 8


@pytest.mark.parametrize(
    "form",
    ["list", "tuple", "lists", "lists with config", "dict", "dict with config", "list of dicts"],
)
def test_configure_optimizers_may_return_it_in_any_of_lightnings_forms(
    lightning: Callable[..., Workload], form: str
) -> None:
    setup = lightning("build", configured=form)
    assert isinstance(setup.optimizer, torch.optim.SGD)
    assert losses(setup) == losses(lightning("build"))


@pytest.mark.parametrize("form", ["two", "two dicts", "two lists"])
def test_two_optimizers_are_refused(lightning: Callable[..., Workload], form: str) -> None:
    error = refusal(lambda: lightning("build", configured=form))
    assert error.message == "WithData configures 2 optimizers, which Lightning trains by manual optimization only"
    assert error.hint == (
        "set automatic_optimization = False and step them in training_step, or return a dict with them"
    )


@pytest.mark.parametrize("form", ["None", "empty"])
def test_no_optimizer_is_refused(lightning: Callable[..., Workload], form: str) -> None:
    error = refusal(lambda: lightning("build", configured=form))
    assert error.message == "WithData.configure_optimizers() gives no optimizer"
    assert error.hint == "return one from it"


def test_an_optimizer_that_asks_the_trainer_is_told_that_there_is_none(lightning: Callable[..., Workload]) -> None:
    error = refusal(lambda: lightning("build", configured="by trainer"))
    assert error.message == (
        "WithData.configure_optimizers() raised RuntimeError: WithData is not attached to a `Trainer`."
    )
    assert error.hint.startswith("there is no Lightning Trainer in a range test")
    assert error.trace is not None
    assert "self.trainer.estimated_stepping_batches" in error.trace
    assert "site-packages" not in error.trace


def test_manual_optimization_steps_by_itself(lightning: Callable[..., Workload]) -> None:
    workload = lightning("Manual")
    before = [parameter.detach().clone() for parameter in workload.model.parameters()]
    assert workload.step is not None
    loss = workload.step(next(iter(workload.train_loader)))

    assert loss.ndim == 0
    assert all(torch.equal(a, b) for a, b in zip(before, workload.model.parameters(), strict=True)), (
        "it calls no step()"
    )


@pytest.mark.parametrize(
    ("form", "every"),
    [("lists", 8), ("lists with config", 1), ("dict", 8), ("dict with config", 1), ("optimizer", None)],
)
def test_the_scheduler_moves_on_as_lightning_would(
    lightning: Callable[..., Workload], form: str, every: int | None
) -> None:
    """Once an epoch of eight batches, unless the interval is a step: StepLR takes a tenth of the LR every ten of these."""
    workload = lightning("build", configured=form)
    if every is None:
        assert workload.scheduler is None
        return
    lrs = []
    for _ in range(10 * every + 1):
        lrs.append(workload.optimizer.param_groups[0]["lr"])
        workload.optimizer.step()
        workload.scheduler.step()

    assert lrs == pytest.approx([0.1] * 10 * every + [0.01])


def test_a_module_without_data_is_refused(lightning: Callable[..., Workload]) -> None:
    error = refusal(lambda: lightning("WithoutData"))
    assert error.message == "WithoutData has no train_dataloader"
    assert error.hint == "give it one, or return (module, datamodule) or (module, train_loader) from build()"


def test_several_loaders_are_refused(lightning: Callable[..., Workload]) -> None:
    error = refusal(lambda: lightning("SeveralLoaders"))
    assert error.message == "SeveralLoaders.train_dataloader() returned several loaders (a dict)"
    assert error.hint == "return (module, train_loader) from build(), with one loader that joins their batches"


def test_the_hooks_before_training_are_called_in_lightnings_order(lightning: Callable[..., Workload]) -> None:
    setup = lightning("SetsItselfUp")
    assert setup.model.calls == ["prepare_data", "setup fit", "configure_model"]
    assert losses(setup)[0] > 0
    assert len(setup.optimizer.param_groups[0]["params"]) == 2


def test_the_hooks_of_a_datamodule_are_called(lightning: Callable[..., Workload]) -> None:
    setup = lightning("with_datamodule")
    assert len(list(setup.train_loader)) == 8


@pytest.mark.parametrize("attribute", ["MovesBatches", "with_data_that_augments"])
def test_what_the_hooks_make_of_a_batch_is_trained_on(lightning: Callable[..., Workload], attribute: str) -> None:
    plain, augmented = losses(lightning("build"), 1), losses(lightning(attribute), 1)
    assert augmented != plain
    assert 4 < augmented[0] < 16  # targets of 3 and inputs of 0


def test_a_training_step_may_do_without_the_index(lightning: Callable[..., Workload]) -> None:
    assert losses(lightning("OneArgument")) == losses(lightning("build"))


def test_a_training_step_sees_the_batches_counted(lightning: Callable[..., Workload]) -> None:
    setup = lightning("CountsBatches")
    losses(setup, 4)
    assert setup.model.seen == [0, 1, 2, 3]


def test_a_training_step_may_return_a_dict_with_the_loss(lightning: Callable[..., Workload]) -> None:
    assert losses(lightning("build", returned="dict")) == losses(lightning("build"))


def test_a_training_step_that_returns_none_is_refused(lightning: Callable[..., Workload]) -> None:
    error = refusal(lambda: losses(lightning("build", returned="None")))
    assert error.message == "WithData.training_step() returned None"
    assert error.hint == "return the loss, or a dict with it"


def test_a_training_step_whose_dict_has_no_loss_is_refused(lightning: Callable[..., Workload]) -> None:
    error = refusal(lambda: losses(lightning("build", returned="dict without loss")))
    assert error.message == "WithData.training_step() returned a dict without 'loss'"
    assert error.hint == "return the loss, or a dict with it"


def test_logging_without_a_trainer_is_silent(lightning: Callable[..., Workload]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        losses(lightning("build"), 5)
    assert [str(warning.message) for warning in caught if "self.log" in str(warning.message)] == []


# --- Hugging Face -----------------------------------------------------------------------------------------------------


def test_a_range_test_runs_on_a_trainer_file(workload_file: Callable[[str], Path]) -> None:
    pytest.importorskip("transformers", reason="needs the extra lrtool[transformers]")
    pytest.importorskip("accelerate", reason="needs the extra lrtool[transformers]")
    result = lrtool.range_test(str(workload_file("hf_trainer")), num_steps=20, device="cpu")
    settling = sum(len(run.loss) for run in result.doubt_runs)
    assert result.num_steps - settling == 20
    assert result.optimizer == "AdamW"
    assert result.steps_per_epoch == 8


def test_a_trainers_settings_are_taken_over(trainer: Callable[..., Workload]) -> None:
    setup = trainer(gradient_accumulation_steps=4, max_grad_norm=0.5, learning_rate=0.02)
    assert (setup.precision, setup.accumulate, setup.clip_norm) == ("fp32", 4, 0.5)
    assert {group["lr"] for group in setup.optimizer.param_groups} == {0.02}
    assert {group["weight_decay"] for group in setup.optimizer.param_groups} == {0.0}


def test_a_trainers_bf16_is_taken_over(trainer: Callable[..., Workload]) -> None:
    assert trainer(bf16=True).precision == "bf16"


def test_a_trainer_that_does_not_clip_is_not_clipped(trainer: Callable[..., Workload]) -> None:
    assert trainer(max_grad_norm=0.0).clip_norm is None


def test_a_trainer_starts_at_the_loss_of_guessing(trainer: Callable[..., Workload]) -> None:
    assert losses(trainer(), 1)[0] == pytest.approx(0.693, abs=0.1)


def test_a_trainers_own_loss_function_is_used(trainer: Callable[..., Workload]) -> None:
    assert losses(trainer("with_own_loss"), 1) == [0.5]


def test_a_trainers_own_optimizer_is_used(trainer: Callable[..., Workload]) -> None:
    setup = trainer("with_own_optimizer")
    assert isinstance(setup.optimizer, torch.optim.SGD)
    assert setup.optimizer.param_groups[0]["lr"] == 0.5


def test_a_trainers_batches_follow_the_model_to_its_device(trainer: Callable[..., Workload]) -> None:
    setup = trainer()
    assert setup.prepare is not None
    moved = setup.prepare({"input_ids": torch.ones(1)}, torch.device("meta"))
    assert moved["input_ids"].device.type == "meta"


def test_a_trainer_without_data_is_refused(trainer: Callable[..., Workload]) -> None:
    error = refusal(lambda: trainer(data=False))
    assert error.message == "the Trainer raised ValueError: Trainer: training requires a train_dataset."
