"""A range for each parameter group: from ramps of one group at a time, and a last one of all in the ratios found."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import lrtool as package
from lrtool.lr.per_group import found_ratios
from lrtool.results import Curve, GroupRange, GroupTest
from tests.conftest import Lrtool

WorkloadFile = Callable[[str], Path]
SILENT = GroupTest(
    num_parameters=1, curve=Curve(lr=(), loss=(), smoothed_loss=()), half_descent=None,
    range=GroupRange(base_lr=None, max_lr=None, suggested_lr=None), confidence="none", reason="flat",
)  # fmt: skip


def halfway(*lrs: float | None) -> list[GroupTest]:
    return [replace(SILENT, half_descent=lr) for lr in lrs]


def test_the_ratios_are_those_of_where_each_descent_is_half_done() -> None:
    assert found_ratios(halfway(0.02, 0.1, 0.001), given=(1.0, 1.0, 1.0)) == pytest.approx((0.2, 1.0, 0.01))


def test_a_group_without_a_descent_keeps_its_place_among_the_others() -> None:
    """The others were found at 4 and at 1 times what they were given, so on average at twice: the third goes along."""
    assert found_ratios(halfway(0.4, 1.0, None), given=(0.1, 1.0, 0.05)) == pytest.approx((0.4, 1.0, 0.1))


def test_without_any_descent_all_keep_what_they_were_given() -> None:
    assert found_ratios(halfway(None, None), given=(0.25, 1.0)) == (0.25, 1.0)


def test_each_group_gets_the_range_that_its_curvature_asks_for(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    together = lrtool("range-test", workload_file("two_bowls"), "--json", "--end-lr", "100").json
    found = lrtool("range-test", workload_file("two_bowls"), "--json", "--end-lr", "100", "--per-group").json
    flat, steep = found["param_groups"]

    assert set(flat) == {"base_lr", "max_lr", "suggested_lr"}
    assert flat["max_lr"] / steep["max_lr"] == pytest.approx(300, rel=0.15)
    assert found["max_lr"] == flat["max_lr"]
    assert together["param_groups"][0] == together["param_groups"][1]
    assert flat["max_lr"] > 3 * together["max_lr"]


@pytest.mark.painted
def test_the_line_to_paste_and_the_table_have_every_group(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("range-test", workload_file("two_bowls"), "--per-group")
    lines = outcome.out.splitlines()

    assert [line.split()[:2] for line in lines if "parameters)" in line] == [["0", "(3"], ["1", "(1"]]
    code = lines[lines.index("scheduler = CyclicLR(") :]
    assert "".join(code[: code.index(")")]).count("[") == 2
    assert "the others held at LR 0" in " ".join(outcome.out.split())
    run_dir = Path("runs/0001-range-test")
    assert {"groups.csv", "groups.png", "groups.svg"} <= {path.name for path in run_dir.iterdir()}
    assert set(pd.read_csv(run_dir / "groups.csv")["group"]) == {0, 1}


@pytest.mark.painted
def test_a_group_without_gradients_is_told_and_keeps_out(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    document = lrtool("range-test", workload_file("two_bowls"), "-p", "idle=true", "--per-group", "--json").json
    lines = lrtool("report", "last").out

    assert [test["half_descent"] is None for test in document["group_tests"]] == [False, False, True]
    assert "group 2 shows no descent and keeps out" in " ".join(lines.split())
    assert [group["max_lr"] is None for group in document["param_groups"]] == [False, False, True]


def test_a_single_group_is_tested_as_ever(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    plain, per_group = (
        lrtool("range-test", workload_file("good"), "--json", *extra).json for extra in ((), ("--per-group",))
    )

    assert per_group["group_tests"] == []
    assert per_group["curve"] == plain["curve"]


def test_live_objects_are_put_back_with_their_learning_rates(workload_file: WorkloadFile) -> None:
    from tests.workloads.two_bowls import build

    live: dict[str, Any] = build()
    live["optimizer"].param_groups[1]["lr"] = 0.003
    found = package.range_test(live, per_group=True, num_steps=60)

    assert len(found.group_tests) == 2
    assert [group["lr"] for group in live["optimizer"].param_groups] == [0.01, 0.003]
    assert torch.equal(live["model"].flat, torch.ones(3))


def test_what_ends_the_ramp_of_a_group_is_told(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("range-test", workload_file("raises_midway"), "--per-group")

    assert outcome.code == 3
    assert "Traceback" not in outcome.err
