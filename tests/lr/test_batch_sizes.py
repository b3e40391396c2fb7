"""The range over batch sizes: an exponent that is measured, with its interval, and for which training all of it holds."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import lrtool as package
from lrtool.config import RangeTestSettings
from lrtool.lr.batch_sizes import sizes_and_seeds
from lrtool.lr.source import batch_size, optimizer_settings
from lrtool.workload.workload import from_mapping
from tests.conftest import Lrtool

WorkloadFile = Callable[[str], Path]


def test_a_range_that_is_proportional_to_the_batch_size_has_exponent_one(
    lrtool: Lrtool, workload_file: WorkloadFile
) -> None:
    arguments = ("--batch-size", "4,16,64", "--end-lr", "1e4", "--num-steps", "150", "--json")
    document = lrtool("range-test", workload_file("power_law"), *arguments).json
    law = document["batch_scaling"]["max_lr"]

    assert law["exponent"] == pytest.approx(1.0, abs=0.1)
    assert law["low"] <= law["exponent"] <= law["high"]
    assert law["num_points"] == 9
    assert [(test["batch_size"], test["seed"]) for test in document["batch_scaling"]["tests"]] == [
        (size, seed) for seed in (0, 1, 2) for size in (4, 16, 64)
    ]
    assert document["max_lr"] == document["batch_scaling"]["tests"][0]["max_lr"]


@pytest.mark.painted
def test_the_table_the_sentence_and_the_plot_show_it(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool(
        "range-test", workload_file("good"), "--batch-size", "16,32,64", "--repeats", "2", "--num-steps", "60"
    )
    text = " ".join(outcome.out.split())

    assert outcome.code == 0
    assert "max_lr goes as batch size ^ " in text
    assert "batch size 16, on cpu" in text
    assert [line.split()[0] for line in outcome.out.splitlines() if line.strip().startswith(("16 ", "32 ", "64 "))] == [
        "16",
        "32",
        "64",
    ]
    assert all(len(line) <= 80 for line in outcome.out.splitlines() if not line.startswith(("scheduler", "Wrote")))
    run_dir = Path("runs/0001-range-test")
    assert (run_dir / "scaling.png").exists()
    assert len(pd.read_csv(run_dir / "scaling.csv")) == 6
    assert lrtool("report", "last").out == outcome.out


def test_one_size_is_a_setting_and_no_sweep(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    document = lrtool("range-test", workload_file("good"), "--batch-size", "128", "--num-steps", "30", "--json").json

    assert document["batch_size"] == 128
    assert document["batch_scaling"] is None


def test_a_factory_without_batch_size_is_told(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("range-test", workload_file("two_groups"), "--batch-size", "16,32")

    assert outcome.code == 2
    assert "build() has no argument 'batch_size'" in outcome.err
    assert not any(Path("runs").iterdir())


def test_live_objects_have_the_batch_size_they_have(workload_file: WorkloadFile) -> None:
    from tests.workloads.good import build

    with pytest.raises(package.UsageError, match="need a factory"):
        package.range_test(build(), batch_size=[16, 32])


@pytest.mark.parametrize("text", ["16,x", "0", "16,,32", "1.5"])
def test_what_is_no_batch_size_is_told(lrtool: Lrtool, text: str) -> None:
    outcome = lrtool("range-test", "--batch-size", text)

    assert outcome.code == 2
    assert "--batch-size" in outcome.err


def test_the_tests_asked_for_anyhow_are_not_taken_twice() -> None:
    assert sizes_and_seeds(RangeTestSettings(batch_size=(8, 16)), seed=5) == [(16, 5), (8, 6), (16, 6), (8, 7), (16, 7)]
    assert sizes_and_seeds(RangeTestSettings(batch_size=(8, 16), repeats=2), seed=0) == [
        (8, 0),
        (16, 0),
        (8, 1),
        (16, 1),
    ]
    assert sizes_and_seeds(RangeTestSettings(batch_size=(8,)), seed=0) == []


def test_an_interruption_keeps_the_sizes_measured(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    from tests.workloads import good

    def build(batch_size: int = 16, seed: int = 0) -> dict[str, object]:
        if (batch_size, seed) == (16, 1):
            raise KeyboardInterrupt
        setup: dict[str, object] = good.build(batch_size=batch_size, seed=seed)
        return setup

    from lrtool.lr.range_test import run
    from lrtool.lr.source import find_source

    settings = RangeTestSettings(batch_size=(16, 32), num_steps=30)
    source = find_source(build, params={}, device="cpu")
    outcome = run(source, settings=settings, seed=0, on_progress=lambda progress: None)

    assert isinstance(outcome.error, KeyboardInterrupt)
    assert outcome.result.batch_scaling is not None
    assert [test.batch_size for test in outcome.result.batch_scaling.tests] == [16, 32]


def test_the_settings_of_every_optimizer_are_numbers_by_group() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "weight_decay": decay} for decay in (0.1, 0.0)]

    assert optimizer_settings(torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)) == {
        "momentum": (0.9, 0.9), "dampening": (0.0, 0.0), "weight_decay": (0.1, 0.0), "nesterov": (1.0, 1.0),
    }  # fmt: skip
    adamw = optimizer_settings(torch.optim.AdamW(groups, lr=0.1))
    assert (adamw["beta1"], adamw["beta2"], adamw["weight_decay"]) == ((0.9, 0.9), (0.999, 0.999), (0.1, 0.0))
    assert "lr" not in adamw
    assert "foreach" not in adamw


def test_the_batch_size_is_that_of_a_whole_step() -> None:
    from tests.workloads.good import build

    assert batch_size(from_mapping(build(batch_size=8) | {"accumulate": 4}, name="x")) == 32
    assert batch_size(from_mapping(build() | {"train_loader": [1, 2, 3]}, name="x")) is None


def test_it_is_said_for_which_training_the_suggestion_holds(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    lines = " ".join(lrtool("range-test", workload_file("two_bowls"), "--num-steps", "30").out.split())

    assert "holds for SGD (momentum 0.9, weight decay 0 / 1e-09), on cpu" in lines
