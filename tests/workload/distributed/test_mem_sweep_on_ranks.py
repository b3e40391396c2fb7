"""A memory sweep on several ranks: each trial is a fresh process on each of them, told as one."""

import pytest

from tests import WORKLOADS
from tests.conftest import Lrtool
from tests.workload.distributed.launched import on_ranks

BUCKET_BYTES = 4 * (8 * 16 + 16 + 16 + 1)


@pytest.mark.parametrize("recorder", ["cpu", "predicted"])
def test_every_rank_is_recorded_and_the_first_one_tells(recorder: str, lrtool: Lrtool) -> None:
    first, second = on_ranks(
        2, "mem-sweep", WORKLOADS / "good.py", "--recorder", recorder, "--step-sizes", "5,6", "--json", timeout_s=120
    )

    assert (first.code, second.code) == (0, 0)
    assert second.out == ""
    assert len(first.json["trials"]) == 2
    for trial in first.json["trials"]:
        assert trial["status"] == "ok"
        assert trial["ranks"]["world_size"] == 2
        assert [each["rank"] for each in trial["ranks"]["memory"]] == [0, 1]
        assert trial["ranks"]["imbalance"] == 0
        assert trial["ranks"]["bucket_bytes"] >= BUCKET_BYTES
    table = lrtool("report", "last").out
    assert "2 ranks" in table
    assert all(len(line) <= 80 or line.startswith(("Predicted", "Wrote")) for line in table.splitlines())


def test_a_rank_that_runs_out_of_memory_is_the_trials_end() -> None:
    first, _ = on_ranks(
        2, "mem-sweep", WORKLOADS / "on_ranks.py", "-p", "at_step=3", "--recorder", "cpu", "--step-sizes", "5",
        "--json", timeout_s=120,
    )  # fmt: skip
    (trial,) = first.json["trials"]

    assert trial["status"] == "oom"
    assert trial["message"].startswith("rank 1: ")
    assert trial["ranks"]["failed_rank"] == 1


def test_a_diagnosis_has_the_gradient_buckets_in_its_budget() -> None:
    first, _ = on_ranks(
        2, "diagnose", WORKLOADS / "good.py", "-p", "width=4000", "--recorder", "cpu", "--steps", "20", "--json",
        timeout_s=120,
    )  # fmt: skip
    lines = {line["name"]: line["num_bytes"] for line in first.json["budget"]["lines"]}

    assert first.code == 0
    assert lines["gradient buckets"] == pytest.approx(4 * (8 * 4000 + 4000 + 4000 + 1), rel=0.01)
    assert first.json["ranks"]["world_size"] == 2
    assert [each["rank"] for each in first.json["ranks"]["memory"]] == [0, 1]
