"""One pass of evaluation after the last step: what it keeps is in its own peak, and training's figures stay what they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lrtool.errors import WorkloadError
from lrtool.memory.replay.replay import replay
from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, trace
from lrtool.workload.target import from_callable, load

WIDTH, CLASSES, SAMPLES, PASSES = 64, 2000, 128, 10
OUTPUT = 4 * SAMPLES * CLASSES


def workload(**more: Any) -> dict[str, Any]:
    model = nn.Linear(WIDTH, CLASSES)
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "train_loader": [(torch.randn(8, WIDTH), torch.arange(8))] * 3,
        "val_loader": [(torch.randn(SAMPLES, WIDTH), torch.arange(SAMPLES))] * PASSES,
        "loss": lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        **more,
    }


def keeps_outputs(model: nn.Module, val_loader: Any, device: torch.device) -> None:
    with torch.no_grad():
        outputs = [model(x.to(device)) for x, _ in val_loader]
    assert len(outputs) == PASSES


def traced(build: Callable[[], Any], num_steps: int = 50, **options: Any) -> TracedRun:
    settings = TraceSettings(num_steps=num_steps, evaluates=True, with_workspaces=False, **options)
    return trace(from_callable(build, params={}), settings)


def peaks_of_steps(run: TracedRun) -> list[int]:
    return [step.peak_allocated_bytes for step in replay(run.trace).steps]


def test_without_an_evaluation_of_its_own_the_loss_is_computed_over_val_loader() -> None:
    *training, evaluation = peaks_of_steps(traced(workload))

    assert len(training) == 50
    assert max(training) < evaluation < max(training) + 3 * OUTPUT


def test_its_own_evaluation_keeps_what_it_keeps() -> None:
    *training, evaluation = peaks_of_steps(traced(lambda: workload(evaluate=keeps_outputs)))

    assert (PASSES - 1) * OUTPUT < evaluation - training[-1] < (PASSES + 1) * OUTPUT


@pytest.mark.parametrize("num_steps", [4, 50, 51])
def test_evaluation_after_repeated_steps_is_that_after_traced_ones(num_steps: int) -> None:
    def build() -> dict[str, Any]:
        def drops(model: nn.Module, val_loader: Any) -> None:
            model.zero_grad()
            model(val_loader[0][0].to("cuda")).sum().item()

        loader = [(torch.randn(size, WIDTH), torch.arange(size)) for size in (8, 16, 24)]
        return workload(evaluate=drops, train_loader=loader)

    told, whole = traced(build, num_steps), traced(build, num_steps, until_steady=False)
    assert replay(told.trace).steps[-1].allocated_bytes == replay(whole.trace).steps[-1].allocated_bytes
    assert peaks_of_steps(told)[-1] == peaks_of_steps(whole)[-1]


def test_a_workload_without_anything_to_evaluate_says_so() -> None:
    with pytest.raises(WorkloadError, match="no val_loader") as raised:
        traced(lambda: {name: value for name, value in workload().items() if name != "val_loader"})
    assert "evaluate" in (raised.value.hint or "")


@pytest.mark.parametrize(("param", "kept"), [({}, 16), ({"steps": 4}, 4), ({"reduces": True}, 0)])
def test_a_trainer_joins_its_predictions_on_the_device(
    workload_file: Callable[[str], Path], param: dict[str, Any], kept: int
) -> None:
    """Joining holds the old and the new at once: of 16 batches 15 and 16."""
    pytest.importorskip("transformers")
    factory = load(f"{workload_file('hf_trainer')}:evaluates", params=param)
    run = trace(factory, TraceSettings(num_steps=3, evaluates=True, with_workspaces=False))
    *training, evaluation = peaks_of_steps(run)
    logits = 4 * 32 * 8 * 2000

    joined = max(0, 2 * kept - 1)
    assert joined * logits <= evaluation - training[-1] + logits
    assert evaluation < max(training) + (joined + 4) * logits


def test_a_module_of_lightning_validates_and_ends_its_epochs(workload_file: Callable[[str], Path]) -> None:
    pytest.importorskip("lightning")
    factory = load(f"{workload_file('lightning_module')}:keeps_for_an_epoch")
    run = trace(factory, TraceSettings(num_steps=40, evaluates=True, with_workspaces=False))
    batch = 4 * 32 * 8
    levels = run.live_bytes[2:]

    assert run.period is not None
    assert max(levels) - min(levels) == 7 * batch
    assert peaks_of_steps(run)[-1] >= peaks_of_steps(run)[-2]
