"""Cures as trials: all of them on a small workload, in this process and once in processes of their own."""

from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrtool.diagnosis.cure_trials import trial as cure_trial
from lrtool.diagnosis.cure_trials.reports import CURE_TRIAL, CureSetup, CureTrial, CureTrialFile
from lrtool.diagnosis.cure_trials.session import try_cures
from lrtool.diagnosis.cures.registry import find_cures, find_options
from lrtool.errors import WorkloadError
from lrtool.memory.metrics import Peaks
from lrtool.memory.recorders.recording import Recording, RecordSettings, StepColumns
from lrtool.results import CureEffect, Cures, TrialOom
from lrtool.sweep.executors.executor import Ended, Executor, Job, run_one
from lrtool.sweep.executors.subprocess import SubprocessExecutor
from tests import WORKLOADS
from tests.diagnosis.cures.cured_models import ACTIVATION, WEIGHT
from tests.sweep.running import InlineExecutor

MIB = 2**20
TOWER = "tests.diagnosis.cures.cured_models:tower"
NAMES = ("bf16", "checkpointing", "fused", "set-to-none")


def setup(**more: Any) -> CureSetup:
    made: dict[str, Any] = {
        "target": TOWER, "params": {"num_blocks": 3, "rows": 1024, "optimizer": "Adam"}, "recorder": "predicted",
        "device": "auto", "gpu": "t4", "capacity_bytes": 40 * MIB, "seed": 0, "num_steps": 3,
    }  # fmt: skip
    return CureSetup(**made | more)


def tried(tmp_path: Path, of: CureSetup, *names: str, executor: Executor | None = None) -> Cures:
    executor = executor or InlineExecutor()
    return try_cures(of, tmp_path, executor, cures=find_cures(names), on_trial=lambda *_: None)


@pytest.fixture(scope="module")
def cures(tmp_path_factory: pytest.TempPathFactory) -> Cures:
    return tried(tmp_path_factory.mktemp("cures"), setup(), *NAMES)


def by_name(cures: Cures) -> dict[str, CureEffect]:
    return {effect.name: effect for effect in cures.effects}


def test_each_cure_has_what_it_saves_and_what_it_costs(cures: Cures) -> None:
    checkpointing = by_name(cures)["checkpointing"]

    assert checkpointing.outcome == "helps"
    assert checkpointing.time_basis == "operations"
    assert checkpointing.time_ratio == pytest.approx(4 / 3, rel=0.05)  # forward again, with backward twice as much
    assert checkpointing.loss_difference == 0.0
    assert checkpointing.figures is not None
    assert checkpointing.figures.step_duration_s is None


def test_a_prediction_has_no_time_where_operations_do_not_tell_it_but_a_loss(cures: Cures) -> None:
    bf16 = by_name(cures)["bf16"]

    assert cures.loss_device == "cpu"
    assert (bf16.time_ratio, bf16.time_basis) == (None, None)
    assert bf16.loss_difference is not None


def test_a_cure_that_has_nothing_to_do_says_so_without_a_process_of_its_own(cures: Cures, tmp_path: Path) -> None:
    told = by_name(cures)["set-to-none"]

    assert (told.outcome, told.figures) == ("cannot help", None)
    assert told.reason is not None
    tried(tmp_path, setup(), "set-to-none")
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["001"]


def test_settings_are_tried_on_the_recorded_trace(cures: Cures) -> None:
    names = set(by_name(cures))

    assert {"expandable-segments", "max-split-size", "garbage-collection", "roundup"} <= names


def test_the_best_together_save_more_than_each_alone(cures: Cures) -> None:
    together = cures.together

    assert together is not None
    assert together.title.startswith("bf16 autocast + activation checkpointing")
    assert together.saved_allocated_bytes is not None
    assert all((each.saved_allocated_bytes or 0) < together.saved_allocated_bytes for each in cures.effects)
    assert together.how[-1] == "torch.optim.Adam(..., fused=True)" or len(together.how) >= 4


def test_a_real_run_on_the_cpu_has_times_by_the_clock(tmp_path: Path) -> None:
    found = tried(tmp_path, setup(recorder="cpu", num_steps=4, params={"num_blocks": 1, "rows": 64}), "accumulation")

    (told,) = [effect for effect in found.effects if effect.name == "accumulation"]
    assert told.time_basis == "measured"
    assert told.loss_difference == pytest.approx(0.0, abs=1e-3)


def test_in_a_process_of_its_own_the_report_is_the_same(tmp_path: Path) -> None:
    file = CureTrialFile(
        setup=replace(setup(), target=f"{WORKLOADS.parent / 'diagnosis' / 'cures' / 'cured_models.py'}:tower"),
        trial=CureTrial(number=1, cures=("checkpointing",), wants_loss=False),
    )
    for executor, name in ((InlineExecutor(), "here"), (SubprocessExecutor(), "there")):
        run_one(executor, CURE_TRIAL.job(tmp_path / name, file, recorder=file.setup.recorder))

    here, there = (CURE_TRIAL.read(tmp_path / name) for name in ("here", "there"))
    assert here is not None
    assert here == there
    assert here.ending == "ok"


def test_a_workload_that_cannot_be_run_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="cannot be run as it is"):
        tried(tmp_path, setup(params={"optimizer": "NoSuch"}), "bf16")


class Interrupted(InlineExecutor):
    """Ctrl-C comes after so many trials."""

    def __init__(self, after: int) -> None:
        self.left = after

    def run(self, jobs: Iterable[Job]) -> Generator[Ended, None, None]:
        for ended in super().run(jobs):
            yield ended
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def test_an_interruption_keeps_what_was_tried(tmp_path: Path) -> None:
    found = tried(tmp_path, setup(), *NAMES, executor=Interrupted(after=2))

    assert found.was_interrupted
    assert found.together is None
    assert by_name(found)["bf16"].figures is not None
    assert "fused" not in by_name(found)


# -- on a GPU, of which the memory is made up ------------------------------------------------------------------------------


def made_recording(factory: Any, settings: RecordSettings) -> Recording:
    """A device on which 100 MiB are not enough, but fewer bytes are with checkpointing."""
    import torch

    workload = factory.build(seed=0, device=torch.device("cpu"))
    is_cured = not hasattr(workload.model.blocks[0].forward, "__self__")
    peak = 60 * MIB if is_cured else 100 * MIB
    death = None if is_cured else TrialOom(step=1, request_bytes=MIB, cause=None, source=None)
    peaks = Peaks(allocated_bytes=peak, reserved_bytes=peak, active_bytes=peak, requested_bytes=peak)
    return Recording(series=StepColumns().series(), peaks=peaks, death=death, capacity_bytes=99 * MIB)


def test_on_a_gpu_each_cure_and_each_of_the_chosen_settings_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(cure_trial, "record", made_recording)
    monkeypatch.setattr(cure_trial, "pick_device", lambda name: torch.device("cpu"))

    found = tried(tmp_path, setup(recorder="cuda", capacity_bytes=None, num_steps=4), "checkpointing", "bf16")

    checkpointing, expandable = by_name(found)["checkpointing"], by_name(found)["expandable-segments"]
    assert found.capacity_bytes == 99 * MIB
    assert (checkpointing.outcome, checkpointing.saved_reserved_bytes) == ("helps", None)
    assert checkpointing.figures is not None
    assert checkpointing.figures.fits
    assert checkpointing.figures.step_duration_s is not None
    assert expandable.settings == "expandable_segments:True"
    assert expandable.figures is not None
    assert expandable.figures.fits is False


def test_the_tower_is_known_by_hand() -> None:
    assert (ACTIVATION, WEIGHT) == (4 * MIB, MIB // 4)


def test_only_the_cures_that_were_named_are_tried_allocator_settings_too(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    names = ("expandable-segments", "roundup")
    cures = try_cures(
        setup(), tmp_path, InlineExecutor(), cures=find_cures(names), options=find_options(names),
        on_trial=lambda *progress: told.append(progress),
    )  # fmt: skip

    assert {effect.name for effect in cures.effects} == set(names)
    assert told == [("baseline", 1, 1)]
    none = try_cures(
        setup(), tmp_path / "bf16", InlineExecutor(), cures=find_cures(["bf16"]), options=find_options(["bf16"]),
        on_trial=lambda *_: None,
    )  # fmt: skip
    assert {effect.name for effect in none.effects} == {"bf16"}
