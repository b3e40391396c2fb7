"""What one rank of many takes: what is sharded gets less as there are more of them, activations do not."""

import pytest

from lrtool.results import Trial
from tests import WORKLOADS
from tests.conftest import Lrtool
from tests.sweep.running import plan_of, run

PARAMETERS = 4 * 1_001_000
ACTIVATIONS = 4 * 64 * 1000 * 4


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int | None, str], Trial]:
    plan = plan_of("blocks", world_size=(1, 8), shard=("none", "fsdp2"), steps=12)
    found = run(plan, tmp_path_factory.mktemp("sweep"))
    assert [trial.message for trial in found if trial.status != "ok"] == []
    return {(trial.condition.world_size, trial.condition.shard): trial for trial in found}


@pytest.mark.parametrize(
    ("world_size", "shard", "share"), [(1, "none", 1), (8, "none", 1), (1, "fsdp2", 1), (8, "fsdp2", 8)]
)
def test_parameters_gradients_and_optimizer_state_are_shared(
    trials: dict[tuple[int | None, str], Trial], world_size: int, shard: str, share: int
) -> None:
    most = trials[world_size, shard].most_by_category

    assert most["parameter"] == pytest.approx(4 * PARAMETERS / share, rel=0.3 if shard == "fsdp2" else 0)
    assert most["gradient"] == 4 * PARAMETERS // share
    assert most["optimizer state"] == 2 * 4 * PARAMETERS // share


def test_activations_are_not(trials: dict[tuple[int | None, str], Trial]) -> None:
    for trial in trials.values():
        assert trial.most_by_category["activation"] >= ACTIVATIONS


def test_buckets_are_a_copy_of_all_gradients_under_ddp_alone(trials: dict[tuple[int | None, str], Trial]) -> None:
    assert trials[8, "none"].most_by_category["gradient bucket"] == pytest.approx(4 * PARAMETERS, abs=512)
    assert "gradient bucket" not in trials[1, "none"].most_by_category
    assert "gradient bucket" not in trials[8, "fsdp2"].most_by_category


def test_a_few_whole_blocks_stand_beside_the_shards(trials: dict[tuple[int | None, str], Trial]) -> None:
    one_block = 4 * 1_001_000
    assert one_block <= trials[8, "fsdp2"].most_by_category["unsharded parameter"] <= 3 * one_block


def test_the_command_line_shows_the_ranks_in_one_table(lrtool: Lrtool, workload_file: object) -> None:
    file = WORKLOADS / "blocks.py"
    outcome = lrtool("mem-sweep", file, "--world-size", "8", "--shard", "fsdp2", "--steps", "6")

    assert outcome.code == 0
    assert outcome.out.startswith("Predicted: at its peak a rank allocates ")
    assert " as one of 8 under fsdp2" in outcome.out.splitlines()[0]
    assert [line.split()[:2] for line in outcome.out.splitlines() if "fsdp2" in line.split()[1:2]] == [["8", "fsdp2"]]
    assert all(len(line) <= 80 or line.startswith(("Predicted: ", "Wrote")) for line in outcome.out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "fsdp2"), "shard is given without world-size"),
        (("--world-size", "8", "--recorder", "cpu"), "--world-size and --recorder cpu do not go together"),
        (("--world-size", "0"), "--world-size"),
        (("--world-size", "2", "--shard", "zero3"), "--shard"),
    ],
)
def test_what_does_not_go_together_is_refused(lrtool: Lrtool, arguments: tuple[str, ...], message: str) -> None:
    outcome = lrtool("mem-sweep", "digits", *arguments)

    assert outcome.code == 2
    assert message in outcome.err
