"""A range test on several ranks: one training of them all, told by one of them, also where a rank fails."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import WORKLOADS
from tests.conftest import Lrtool
from tests.workload.distributed.launched import on_ranks


@pytest.mark.parametrize("shuffled", [True, False])
def test_two_ranks_give_the_curve_of_one_process_with_the_doubled_batch(lrtool: Lrtool, shuffled: bool) -> None:
    command = ("range-test", WORKLOADS / "batch_per_rank.py", "--param", f"shuffled={shuffled}", "--json")
    alone = lrtool(*command).json
    together, silent = on_ranks(2, *command)

    assert (together.code, silent.code) == (0, 0)
    assert together.json["num_steps"] == alone["num_steps"]
    bounded = [loss for loss in alone["curve"]["loss"] if loss < 100]  # beyond, rounding errors grow as the loss does
    assert len(bounded) > 60
    assert together.json["curve"]["loss"][: len(bounded)] == pytest.approx(bounded, rel=1e-4)
    assert together.json["base_lr"] == pytest.approx(alone["base_lr"], rel=1e-3)
    assert together.json["steps_per_epoch"] == alone["steps_per_epoch"] == 16


def test_one_rank_prints_and_writes_the_memory_of_all() -> None:
    first, second = on_ranks(2, "range-test", WORKLOADS / "good.py", "--json")
    ranks = first.json["ranks"]

    assert (second.out, second.err) == ("", "")
    assert [each.name for each in Path("runs").iterdir()] == ["0001-range-test"]
    assert [each["rank"] for each in ranks["memory"]] == [0, 1]
    assert all(each["peak_resident_bytes"] > 2**20 for each in ranks["memory"])
    assert (ranks["world_size"], ranks["backend"], ranks["wrapping"]) == (2, "gloo", "ddp")
    assert ranks["bucket_bytes"] == 4 * (8 * 16 + 16 + 16 + 1)
    assert ranks["max_bytes"] >= ranks["min_bytes"]
    assert ranks["imbalance"] == pytest.approx(1 - ranks["min_bytes"] / ranks["max_bytes"])


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("oom", "rank 1 ran out of memory at step 12"),
        ("raise", "rank 1 failed at step 12: the training step raised KeyError: 'label'"),
        ("kill", "rank 1 is gone at step 12"),
        ("hang", "rank 1 hangs at step 12: no progress for 1 s; it stands in on_ranks.py"),
    ],
)
def test_a_rank_that_fails_is_a_result_with_its_rank(lrtool: Lrtool, trouble: str, said: str) -> None:
    first, _ = on_ranks(
        2, "range-test", WORKLOADS / "on_ranks.py", "--param", f"trouble={trouble}", "--timeout", "1", "--json"
    )

    assert first.code == 3
    assert said in first.err
    assert "points are kept: lrtool report" in first.err
    assert first.json["stop_reason"].startswith(said)
    assert first.json["ranks"]["failed_rank"] == 1
    assert first.json["num_steps"] >= 4
    table = lrtool("report", "last").out
    assert "cpu, failed" in table
    assert all(len(line) <= 80 or line.startswith("Wrote") for line in table.splitlines())


@pytest.mark.parametrize("at_rank", [0, 1])
def test_a_rank_that_raises_before_the_first_step_ends_all(at_rank: int) -> None:
    first, second = on_ranks(
        2, "range-test", WORKLOADS / "on_ranks.py", "-p", "trouble=raise", "-p", "at_step=0", "-p", f"at_rank={at_rank}"
    )

    assert (first.code, second.code) == (3, 0)
    assert f"error: rank {at_rank} failed before the first step: build() raised KeyError: 'label'" in first.err
    assert list(Path("runs").iterdir()) == []


def test_a_mistake_on_the_command_line_is_told_once() -> None:
    first, second = on_ranks(2, "range-test", "nowhere.py")

    assert first.code == 2
    assert "error: there is no file nowhere.py" in first.err
    assert second.err == ""


def test_a_model_that_the_workload_has_wrapped_is_left_alone() -> None:
    first, _ = on_ranks(2, "range-test", WORKLOADS / "own_ranks.py", "-p", "how=ddp", "--num-steps", "20", "--json")

    assert first.json["ranks"]["wrapping"] == "own ddp"


def test_fully_sharded_models_are_left_alone() -> None:
    first, _ = on_ranks(2, "range-test", WORKLOADS / "own_ranks.py", "-p", "how=fsdp2", "--num-steps", "20", "--json")

    assert first.json["ranks"]["wrapping"] == "fsdp2"


def test_torchrun_starts_it() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lrtool",
         "range-test", str(WORKLOADS / "on_ranks.py"), "--param", "trouble=kill", "--json"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=100,
    )  # fmt: skip

    assert json.loads(run.stdout)["ranks"]["failed_rank"] == 1
    assert "error: rank 1 is gone at step 12" in run.stderr
    assert signal.SIGKILL.name in run.stderr
