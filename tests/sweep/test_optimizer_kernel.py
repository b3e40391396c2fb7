"""The axis --optimizer-kernel: the same training, its optimizer's step implemented in another way."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lrtool.errors import WorkloadError
from lrtool.results import Trial
from lrtool.results.mem_sweep import OptimizerKernel
from lrtool.sweep.schedule import use_kernel
from tests.sweep.running import plan_of, run
from tests.workloads.adam import NUM_LAYERS, WIDTH

LAYER_BYTES = WIDTH * WIDTH * 4


def trials_by_kernel(folder: Path, *kernels: OptimizerKernel, **params: str) -> dict[str | None, Trial]:
    trials = run(plan_of("adam", params=params, steps=3, optimizer_kernel=kernels), folder)
    return {trial.condition.optimizer_kernel: trial for trial in trials}


def test_foreach_holds_a_temporary_of_every_parameter_and_single_three_at_most(tmp_path: Path) -> None:
    """Besides parameters, gradients and two moments. Adam one by one holds a root, the root divided, and the denominator
    of the parameter before; over lists, the root of each parameter, which then becomes its denominator.
    """
    trials = trials_by_kernel(tmp_path, "foreach", "fused", "single")
    peaks = {name: trial.max_memory_allocated_bytes or 0 for name, trial in trials.items()}

    assert {trial.status for trial in trials.values()} == {"ok"}
    assert peaks["foreach"] - peaks["single"] == (NUM_LAYERS - 3) * LAYER_BYTES
    assert peaks["fused"] < peaks["single"]


def test_the_optimizer_stays_as_it_was_built_where_nothing_is_asked_for(tmp_path: Path) -> None:
    """On CUDA tensors torch takes foreach by itself."""
    untouched = trials_by_kernel(tmp_path / "own")[None]
    foreach = trials_by_kernel(tmp_path / "foreach", "foreach")["foreach"]

    assert untouched.max_memory_allocated_bytes == foreach.max_memory_allocated_bytes


def test_an_optimizer_without_a_fused_step_is_told_so(tmp_path: Path) -> None:
    trials = trials_by_kernel(tmp_path, "fused", "single", optimizer="RMSprop")

    assert trials["fused"].status == "failed"
    assert trials["fused"].message == "RMSprop has no fused implementation of its step"
    assert trials["single"].status == "ok"


@pytest.mark.parametrize(
    ("kernel", "flags"), [("foreach", (True, False)), ("fused", (False, True)), ("single", (False, False))]
)
def test_every_group_gets_the_kernel_whatever_it_was_built_with(
    kernel: OptimizerKernel, flags: tuple[bool, bool]
) -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))]}, {"params": [nn.Parameter(torch.zeros(1))]}]
    optimizer = torch.optim.AdamW(groups, foreach=True)

    use_kernel(optimizer, kernel)

    assert [(group["foreach"], group["fused"]) for group in optimizer.param_groups] == [flags, flags]


def test_an_optimizer_that_knows_neither_has_a_single_step_only() -> None:
    optimizer = torch.optim.LBFGS([nn.Parameter(torch.zeros(1))])

    use_kernel(optimizer, "single")

    assert "foreach" not in optimizer.param_groups[0]
    with pytest.raises(WorkloadError, match="LBFGS has no foreach implementation"):
        use_kernel(optimizer, "foreach")
