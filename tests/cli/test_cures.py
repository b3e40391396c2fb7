"""`lrtool cures` and its `--max-batch`, with trials run in this process."""

import csv
from pathlib import Path

import pytest

from lrtool.sweep import executors
from tests.conftest import Lrtool, Outcome
from tests.memory.cured_models import ACTIVATION

MIB = 2**20
MODELS = Path(__file__).parents[1] / "memory" / "cured_models.py"
TOWER = f"{MODELS}:tower"
FEW = ("--param", "num_blocks=6", "--param", "rows=4096", "--steps", "3", "--gpu", "t4")


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "SubprocessExecutor", lambda **_: executors.InlineExecutor())


def check_told(outcome: Outcome, code: int, message: str) -> None:
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    error, hint = outcome.err.splitlines()[-2:]
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: ")


def test_what_saves_memory_how_much_and_how(lrtool: Lrtool) -> None:
    outcome = lrtool("cures", TOWER, *FEW, "--only", "checkpointing,set-to-none", "--capacity", "100MiB")

    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert lines[0].startswith("Fits 100 MiB with activation checkpointing, which saves ")
    assert any(line.startswith("activation checkpointing") for line in lines)
    assert "        m.forward = partial(checkpoint, m.forward, use_reentrant=False)" in lines
    assert any("set to None already" in line for line in lines)
    assert lines[-1] == "Wrote runs/0001-cures/cures.png. Next: lrtool report runs/0001-cures"
    assert max(map(len, lines[1:-1])) <= 80


def test_everything_is_in_the_json_document_and_in_the_table_file(lrtool: Lrtool) -> None:
    told = lrtool("cures", TOWER, *FEW, "--only", "checkpointing", "--json", "--quiet").json

    with Path("runs/0001-cures/cures.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    (checkpointing,) = [each for each in told["cures"]["effects"] if each["name"] == "checkpointing"]
    assert (told["schema"], told["command"], told["max_batch"]) == (1, "cures", None)
    assert int(rows["checkpointing"]["saved_allocated_bytes"]) == checkpointing["saved_allocated_bytes"]
    assert checkpointing["saved_allocated_bytes"] > 8 * ACTIVATION
    assert sorted(path.name for path in Path("runs/0001-cures").glob("cures.*")) == [
        "cures.csv",
        "cures.png",
        "cures.svg",
    ]


def test_the_largest_batch_and_its_report(lrtool: Lrtool) -> None:
    outcome = lrtool("cures", TOWER, *FEW, "--max-batch", "--capacity", "150MiB")
    again = lrtool("report", "last")

    assert outcome.code == 0
    assert outcome.out.startswith("The largest batch that fits 150 MiB has ")
    assert outcome.out.splitlines()[-1].startswith("Wrote runs/0001-cures/batches.png")
    assert again.out == outcome.out
    assert Path("runs/0001-cures/batches.csv").read_text().startswith("batch_size,fits,peak_reserved_bytes,recorder\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--only", "checkpoint"], 2, "unknown cure 'checkpoint'"),
        (["--steps", "1"], 2, "--steps: 1 should be"),
        (["--gpu", "h1000"], 2, "--gpu: unknown card"),
        (["--capacity", "lots"], 2, "unknown card 'lots'"),
        (["--settings", "expandable:True"], 2, "unknown allocator setting"),
        (["--recorder", "cuda", "--device", "cpu"], 2, "--recorder cuda does not go with --device cpu"),
        (["--param", "rows=x"], 2, "needs a whole number for 'rows'"),
    ],
)
def test_an_argument_that_is_wrong(lrtool: Lrtool, arguments: list[str], code: int, message: str) -> None:
    check_told(lrtool("cures", TOWER, *arguments), code, message)
    assert not Path("runs").exists()


def test_a_workload_that_fails_as_it_is(lrtool: Lrtool) -> None:
    file = Path(__file__).parents[1] / "workloads" / "vector_loss.py"

    check_told(
        lrtool("cures", file, "--only", "bf16"), 3, "the workload cannot be run as it is: the loss is not a scalar"
    )


def test_a_module_to_checkpoint_that_does_not_exist_is_named(lrtool: Lrtool) -> None:
    outcome = lrtool("cures", TOWER, *FEW, "--only", "checkpointing", "--checkpoint", "block.0")

    assert "failed: the model has no module 'block.0'" in " ".join(outcome.out.split())
