"""Every cause is named first on a workload that has it, and nothing is found on healthy ones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lrtool.results import Diagnosis
from lrtool.sweep.diagnosis import run_diagnosis
from lrtool.sweep.diagnosis_reports import DiagnosisSetup
from lrtool.sweep.executors import InlineExecutor

MIB = 2**20
CASES: dict[str, tuple[str, int | None]] = {
    "kept_losses": ("retained-graph", None),
    "summed_losses": ("retained-graph", None),
    "retained_graphs": ("retained-graph", None),
    "kept_evaluation_outputs": ("evaluation", None),
    "kept_predictions_without_graph": ("evaluation", None),
    "hidden_state": ("hidden-state", None),
    "models_in_cycles": ("old-run", None),
    "evaluation_with_graph": ("evaluation", None),
    "old_run_in_a_cycle": ("old-run", None),
    "zeroed_gradients": ("gradients-kept", None),
    "copies_its_state": ("checkpoint-saving", None),
    "autocast_never_left": ("autocast-cache", None),
    "side_stream": ("side-streams", None),
    "activations": ("capacity", 400),
    "weights": ("capacity", 200),
    "adam_state": ("lazy-optimizer-state", 200),
    "foreach_adamw": ("foreach-temporaries", 350),
    "small": ("workspaces", 60),
    "bf16_copies": ("autocast-cache", 1500),
    "one_long_batch": ("variable-shapes-capacity", 200),
    "split_blocks": ("split-fragmentation", 330),
    "many_lengths": ("variable-shapes-fragmentation", None),
    "healthy_adam": ("none", None),
    "healthy_cnn": ("none", None),
    "healthy_evaluation": ("none", None),
    "healthy_hidden_state": ("none", None),
    "healthy_bf16_accumulated": ("none", None),
    "healthy_uneven_epochs": ("none", None),
    "even_lengths": ("none", None),
}
"""Each workload's first finding, and the capacity in MiB that it is judged for; None is an H100's."""

Run = Callable[..., Diagnosis]


@pytest.fixture
def diagnosed(workload_file: Callable[[str], Path], tmp_path: Path) -> Iterator[Run]:
    def run(name: str, capacity_mib: int | None = None, **changed: Any) -> Diagnosis:
        setup: dict[str, Any] = {
            "target": f"{workload_file('diagnose_cases')}:{name}", "params": {}, "recorder": "predicted",
            "device": "auto", "gpu": "h100", "seed": 0, "num_steps": 200, "settings": "",
            "capacity_bytes": (capacity_mib or 80_000) * MIB,
        }  # fmt: skip
        return run_diagnosis(
            DiagnosisSetup(**{**setup, **changed}), tmp_path / "trial", InlineExecutor(), reason="a test", card=None
        )

    yield run
    torch.set_autocast_enabled("cuda", False)  # one of the cases enters autocast and never leaves it
    torch.clear_autocast_cache()


@pytest.mark.parametrize(("name", "expected"), CASES.items(), ids=CASES)
def test_the_cause_is_named_first(diagnosed: Run, name: str, expected: tuple[str, int | None]) -> None:
    cause, capacity_mib = expected
    result = diagnosed(name, capacity_mib)
    first = result.findings[0]

    assert first.cause == cause, [(finding.cause, finding.evidence) for finding in result.findings]
    assert any(character.isdigit() for character in "".join(first.evidence)) or cause == "none"
    assert (result.num_steps_fit is not None) is (capacity_mib is not None)
