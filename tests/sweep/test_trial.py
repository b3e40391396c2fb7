"""One trial: torch's own schedule, figures from the recorder, and an ending that is a result whatever it is."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CyclicLR

from lrtool.results import Recorder
from lrtool.results.mem_sweep import Schedule
from lrtool.results.stored.trial_dir import read_series
from lrtool.sweep.schedule import ScheduledBuild
from lrtool.workload.target import from_callable
from tests.sweep.running import plan_of, run


def lrs_of(schedule: Schedule, *, num_steps: int, momentum: float = 0.9) -> tuple[list[float], torch.optim.Optimizer]:
    """The LR of each step of a trial, and the optimizer it ran with."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=momentum)
    build = {
        "model": model,
        "optimizer": optimizer,
        "train_loader": [0],
        "loss": lambda model, batch: model.weight.sum(),
    }
    condition = plan_of("good", step_sizes=(4,), schedule=(schedule,)).trials[0].condition
    scheduled = ScheduledBuild(
        from_callable(lambda: build, params={}), condition, num_steps=num_steps, base_lr=0.1, max_lr=1.0
    )
    workload = scheduled.factory().build(seed=0, device=torch.device("cpu"))
    seen = []
    for _ in range(num_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        workload.scheduler.step(torch.zeros(()))
    assert scheduled.num_steps_done == num_steps
    return seen, optimizer


def test_the_lr_goes_from_base_to_max_and_back_as_torch_does_it() -> None:
    assert lrs_of("cyclic", num_steps=9)[0] == pytest.approx([0.1, 0.325, 0.55, 0.775, 1.0, 0.775, 0.55, 0.325, 0.1])


def test_one_cycle_and_constant() -> None:
    one_cycle, _ = lrs_of("onecycle", num_steps=8)

    assert one_cycle[0] == pytest.approx(0.1)
    assert max(one_cycle) == pytest.approx(1.0)
    assert lrs_of("constant", num_steps=3)[0] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_momentum_is_never_changed_unless_it_was_asked_for(momentum: float) -> None:
    """Switched on, it would also cost a buffer for each parameter: memory that the user's training does not take."""
    _, optimizer = lrs_of("cyclic", num_steps=3, momentum=momentum)

    assert optimizer.param_groups[0]["momentum"] == momentum


def test_without_a_range_the_optimizers_own_lr_is_the_highest() -> None:
    model = nn.Linear(2, 2)
    build = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.5), "train_loader": [0]}
    scheduled = ScheduledBuild(
        from_callable(lambda: build, params={}), plan_of("good").trials[0].condition, num_steps=9,
        base_lr=None, max_lr=None,
    )  # fmt: skip
    scheduler = scheduled.factory().build(seed=0, device=torch.device("cpu")).scheduler

    assert scheduler is not None
    assert (scheduled.base_lr, scheduled.max_lr) == (0.05, 0.5)


def test_a_step_that_moves_the_scheduler_itself_gets_torchs_own() -> None:
    model = nn.Linear(2, 2)
    got: list[object] = []

    def step(model: nn.Module, batch: object, scheduler: CyclicLR) -> float:
        got.append(scheduler)
        return 0.0

    build = {
        "model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.5), "train_loader": [0], "step": step
    }  # fmt: skip
    scheduled = ScheduledBuild(
        from_callable(lambda: build, params={}), plan_of("good").trials[0].condition, num_steps=9, base_lr=1, max_lr=2
    )
    workload = scheduled.factory().build(seed=0, device=torch.device("cpu"))
    assert workload.step is not None
    workload.step(model, 0)

    assert isinstance(got[0], CyclicLR)


@pytest.mark.parametrize("recorder", ["predicted", "cpu"])
def test_equal_step_sizes_give_equal_figures_and_others_too(tmp_path: Path, recorder: Recorder) -> None:
    trials = run(plan_of("good", step_sizes=(20, 20, 30), recorder=recorder), tmp_path)
    first, again, longer = (read_series(tmp_path, number) for number in (1, 2, 3))

    assert [trial.status for trial in trials] == ["ok"] * 3
    assert [trial.num_steps_done for trial in trials] == [40, 40, 60]
    assert len({(t.max_memory_allocated_bytes, t.max_memory_reserved_bytes, t.fragmentation) for t in trials}) == 1
    assert first == again
    assert longer is not None
    assert first is not None
    assert longer.allocated_bytes[:40] == first.allocated_bytes


def test_a_run_too_large_for_the_card_dies_at_the_step_that_needs_more(tmp_path: Path) -> None:
    plan = plan_of("keeps_losses", step_sizes=(1000, 3000), recorder="cpu", capacity_bytes=4 * 2**20)
    short, long = run(plan, tmp_path)

    assert (short.status, short.death) == ("ok", None)
    assert long.status == "oom"
    assert long.death is not None
    assert 2000 < long.death.step < 6000
    assert long.num_steps_done == long.death.step - 1
    assert long.death.cause is not None
    assert long.max_memory_reserved_bytes == 4 * 2**20
    assert long.growth is not None
    assert short.growth is not None
    assert long.growth.bytes_per_step == pytest.approx(short.growth.bytes_per_step, rel=0.01)
    assert [source.line for source in long.growth_sources] == ["history.append(value)"]


def test_a_model_that_does_not_fit_dies_before_its_first_step(tmp_path: Path) -> None:
    (trial,) = run(plan_of("good", capacity_bytes=2**20), tmp_path)

    assert (trial.status, trial.num_steps_done) == ("oom", 0)
    assert trial.death is not None
    assert trial.death.step == 0


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("crash", "failed", "the training step raised ValueError: the data went bad"),
        ("sys-exit", "failed", "the training step called sys.exit('enough')"),
    ],
)
def test_the_users_own_errors_are_results(tmp_path: Path, how: str, status: str, message: str) -> None:
    (trial,) = run(plan_of("ends_badly", params={"how": how}), tmp_path)

    assert (trial.status, trial.message, trial.num_steps_done) == (status, message, 2)
    assert trial.max_memory_allocated_bytes is not None, "what the finished steps took was lost"
    assert "Traceback" in (tmp_path / "trials/001/log.txt").read_text()


def test_memory_that_runs_out_in_a_real_run_is_told_as_that(tmp_path: Path) -> None:
    (trial,) = run(plan_of("ends_badly", params={"how": "exhaust"}, recorder="cpu"), tmp_path)

    assert trial.status == "oom"


def test_the_precision_of_the_condition_is_that_of_the_training(tmp_path: Path) -> None:
    fp32, bf16 = run(plan_of("good", precision=("fp32", "bf16"), params={"width": 512}), tmp_path)

    assert fp32.max_memory_allocated_bytes != bf16.max_memory_allocated_bytes
