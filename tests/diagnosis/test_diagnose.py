"""Every cause is named first on a workload that has it, and nothing is found on healthy ones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lrtool.diagnosis.diagnose import run_diagnosis
from lrtool.diagnosis.reports import DiagnosisSetup
from lrtool.errors import WorkloadError
from lrtool.memory.attribution.budget import budget_at_peak
from lrtool.memory.replay.replay import Scenario, replay
from lrtool.results import Diagnosis
from lrtool.tracing.tracer.tracer import TraceSettings, trace
from lrtool.workload.target import from_callable
from tests.sweep.running import InlineExecutor
from tests.tracing.tracer import traced_models as models

MIB = 2**20
CASES: dict[str, tuple[str, int | None]] = {
    "kept_losses": ("retained-graph", None),
    "summed_losses": ("retained-graph", None),
    "retained_graphs": ("retained-graph", None),
    "pool_of_outputs": ("retained-graph", None),
    "cached_by_length": ("kept-tensors", None),
    "kept_for_an_epoch": ("kept-tensors", None),
    "joined_outputs": ("kept-tensors", None),
    "last_outputs": ("retained-graph", None),
    "kept_by_a_hook": ("kept-tensors", None),
    "averaged_state": ("hidden-state", None),
    "gradients_with_graphs": ("retained-graph", None),
    "joined_evaluation": ("evaluation", None),
    "kept_evaluation": ("evaluation", None),
    "retries_within_except": ("failed-retry", 400),
    "retries_after_except": ("none", None),
    "float_logits": ("capacity", 400),
    "dense_embedding_gradient": ("capacity", 200),
    "repeated_mask": ("capacity", 200),
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
    "healthy_pool": ("none", None),
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
        found, _ = run_diagnosis(
            DiagnosisSetup(**{**setup, **changed}), tmp_path / "trial", InlineExecutor(), reason="a test", card=None
        )
        return found

    yield run
    if torch.is_autocast_enabled("cuda"):  # one of the cases enters autocast and never leaves it
        torch.set_autocast_enabled("cuda", False)
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()


@pytest.mark.parametrize(("name", "expected"), CASES.items(), ids=CASES)
def test_the_cause_is_named_first(diagnosed: Run, name: str, expected: tuple[str, int | None]) -> None:
    cause, capacity_mib = expected
    result = diagnosed(name, capacity_mib)
    first = result.findings[0]

    assert first.cause == cause, [(finding.cause, finding.evidence) for finding in result.findings]
    assert any(character.isdigit() for character in "".join(first.evidence)) or cause == "none"
    assert (result.num_steps_fit is not None) is (capacity_mib is not None)


@pytest.mark.parametrize(
    ("name", "line", "holder"),
    [
        ("joined_outputs", 'kept["outputs"] = wide if kept["outputs"]', "kept of joined_outputs.step()"),
        ("kept_by_a_hook", "self.seen.append(output.detach())", "Monitor.seen"),
        ("averaged_state", 'state["mean"] = 0.9', "state of averaged_state.step()"),
        ("gradients_with_graphs", "loss.backward(create_graph=True)", "p.grad"),
        ("summed_losses", "Meter.total += loss", "Meter.total"),
    ],
)
def test_growth_is_told_by_the_line_that_keeps_and_the_holders_name(
    diagnosed: Run, name: str, line: str, holder: str
) -> None:
    first = diagnosed(name).findings[0]

    assert first.source is not None
    assert line in first.source
    assert any(evidence.endswith(f"held by {holder}") for evidence in first.evidence), first.evidence


def test_a_holder_of_a_largest_length_ends_growth(diagnosed: Run) -> None:
    """300 steps' outputs with their graphs, as many bytes each, of which 200 steps are traced or stood for at most."""
    first = diagnosed("last_outputs", num_steps=1000).findings[0]

    course = next(each for each in first.evidence if "until step" in each)
    assert "until step 300," in course
    assert course.endswith("stays there")


def test_an_optimizer_that_remembers_up_to_its_bound_is_well(diagnosed: Run) -> None:
    first = diagnosed("remembers", num_steps=60).findings[0]

    assert first.cause == "none"
    assert any("until step 13," in each and each.endswith("stays there") for each in first.evidence), first.evidence


def test_an_optimizer_that_remembers_more_and_more_is_told(diagnosed: Run) -> None:
    first = diagnosed("remembers_for_long", num_steps=16).findings[0]

    assert (first.cause, first.confidence) == ("kept-tensors", "medium")
    assert "optimizer's state grows" in first.title
    assert not any("each backward pass" in each for each in first.evidence)


def test_a_holder_that_is_full_too_late_is_growth(diagnosed: Run) -> None:
    first = diagnosed("last_outputs", 100, num_steps=40).findings[0]

    assert (first.cause, first.confidence) == ("retained-graph", "high")
    assert "recent of last_outputs.step() is full at step 300 only" in first.evidence
    assert any("are full at step" in each and each.endswith("at this rate") for each in first.evidence)


def test_one_tensor_that_gets_longer_fills_memory_where_the_copy_does_not_fit(diagnosed: Run) -> None:
    """64 x 4,000 floats a step are 1 MB; joining takes the old and the new at once: at step 200, 400 of them."""
    needed = diagnosed("joined_outputs", num_steps=200).peak_allocated_bytes
    assert needed is not None
    result = diagnosed("joined_outputs", capacity_bytes=needed, num_steps=1000)

    assert result.num_steps_fit is not None
    assert 190 < result.num_steps_fit < 202
    assert "full at step" in " ".join(result.findings[0].evidence)


@pytest.mark.parametrize(
    ("name", "capacity_mib", "what", "cure"),
    [
        ("float_logits", 400, "copies of the logits dominate", "chunks of tokens"),
        ("dense_embedding_gradient", 200, "the dense gradient of an embedding dominates", "sparse=True"),
        ("repeated_mask", 200, "a repeated tensor dominates", "expand"),
    ],
)
def test_a_line_that_makes_the_peak_is_named_with_its_shape(
    diagnosed: Run, name: str, capacity_mib: int, what: str, cure: str
) -> None:
    result = diagnosed(name, capacity_mib)
    first = result.findings[0]

    assert what in first.title
    assert cure in first.cure
    assert first.source is not None
    assert first.source in result.verdict
    assert result.peak_lines[0].shape is not None


def test_a_model_in_half_precision_is_not_told_to_use_it(diagnosed: Run) -> None:
    assert "bf16" not in diagnosed("float_logits", 400).findings[0].cure


def test_a_retry_after_the_except_clause_survives(diagnosed: Run) -> None:
    result = diagnosed("retries_after_except", 400)

    assert result.findings[0].cause == "none"
    assert result.num_steps_fit is None
    assert result.peak_reserved_bytes is not None
    assert result.peak_reserved_bytes <= 400 * MIB
    assert "the program catches that and goes on" in " ".join(result.notes)


def test_a_retry_within_the_except_clause_holds_the_first_attempt(diagnosed: Run) -> None:
    first = diagnosed("retries_within_except", 400).findings[0]

    assert "within the except clause" in first.title
    assert first.num_bytes is not None
    assert first.num_bytes > 100 * MIB


def test_growth_says_from_where_and_until_when(diagnosed: Run) -> None:
    result = diagnosed("retained_graphs", 100)
    first = result.findings[0]

    assert first.source is not None
    assert first.source.endswith("kept.append(loss)")
    assert first.num_bytes is not None
    assert result.num_steps_fit is not None
    assert f"100 MiB are full at step {result.num_steps_fit + 1}" in first.evidence
    assert "out of 100 MiB" in result.verdict


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("build", [models.mlp, models.resnet, models.gpt], ids=["mlp", "cnn", "gpt"])
def test_the_budget_adds_up(build: models.Build, optimizer: str) -> None:
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]

    def with_optimizer() -> dict[str, Any]:
        made = build()
        return {**made, "optimizer": kind(made["model"].parameters(), lr=0.01)}

    traced = trace(from_callable(with_optimizer, params={}), TraceSettings(num_steps=20))
    budget = budget_at_peak(traced.trace, Scenario())
    replayed = replay(traced.trace)
    assert budget is not None
    lines = {line.name: line.num_bytes for line in budget.lines}

    assert sum(lines.values()) == budget.reserved_bytes
    kinds = {
        name: size for name, size in lines.items() if name not in ("rounding", "waiting for a stream", "split", "cache")
    }
    assert sum(kinds.values()) + lines["rounding"] == replayed.peaks.allocated_bytes
    parameters = sum(p.numel() * p.element_size() for p in build()["model"].parameters())
    assert kinds["parameters"] == parameters
    assert "not known" not in kinds


def test_without_a_capacity_nothing_can_be_too_small(diagnosed: Run) -> None:
    assert diagnosed("activations", capacity_bytes=None).findings[0].cause == "none"


def test_what_the_users_code_raises_is_raised_as_it_is(diagnosed: Run, workload_file: Callable[[str], Path]) -> None:
    with pytest.raises(WorkloadError, match="scalar"):
        diagnosed("healthy_adam", target=str(workload_file("vector_loss")))


def test_an_option_that_torch_does_not_take_is_named(diagnosed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size:64")
    first = diagnosed("healthy_adam").findings[0]

    assert first.cause == "option-not-in-force"
    assert "max_split_size" in first.evidence[0]
