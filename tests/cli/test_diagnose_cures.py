"""`lrtool diagnose --cures` and `--max-batch`, with trials run in this process."""

import csv
from pathlib import Path
from typing import Any

import pytest

from lrtool.diagnosis.cure_trials import max_batch
from lrtool.diagnosis.cure_trials import session as cure_trials
from lrtool.sweep.executors import subprocess as executors
from tests import ROOT
from tests.conftest import Lrtool
from tests.diagnosis.cures.cured_models import ACTIVATION
from tests.sweep.running import InlineExecutor

MODELS = ROOT / "tests/diagnosis/cures/cured_models.py"
TOWER = f"{MODELS}:tower"
FEW = (
    "--param", "num_blocks=6", "--param", "rows=4096", "--steps", "3", "--cure-steps", "3", "--gpu", "t4",
    "--capacity", "100MiB",
)  # fmt: skip

SMALL = ("--param", "num_blocks=1", *FEW[2:])
"""Where it does not matter how much is taken."""


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "SubprocessExecutor", lambda **_: InlineExecutor())


@pytest.mark.painted
def test_what_saves_memory_how_much_and_how(lrtool: Lrtool) -> None:
    outcome = lrtool("diagnose", TOWER, *FEW, "--cures", "--only", "checkpointing,set-to-none")

    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert any(line.startswith("Fits 100 MiB with activation checkpointing, which saves ") for line in lines)
    assert any(line.startswith("activation checkpointing  ") for line in lines)
    assert "        m.forward = partial(checkpoint, m.forward, use_reentrant=False)" in lines
    assert any("set to None already" in line for line in lines)
    assert max(map(len, lines[1:-1])) <= 80 + len("Fits 100 MiB with activation checkpointing")
    with Path("runs/0001-diagnose/cures.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert int(rows["checkpointing"]["saved_allocated_bytes"]) > 8 * ACTIVATION
    assert Path("runs/0001-diagnose/cures.png").is_file()
    assert lrtool("report", "last").out.splitlines()[:-1] == lines[:-1]
    assert lrtool("report", "last", "--html").code == 0


def test_the_largest_batch_is_in_the_document(lrtool: Lrtool) -> None:
    told = lrtool("diagnose", TOWER, *FEW, "--max-batch", "--json", "--quiet").json

    assert told["cures"] is None
    assert told["max_batch"]["batch_size"] > 0
    assert told["max_batch"]["is_confirmed"] is None
    assert (
        Path("runs/0001-diagnose/batches.csv").read_text().startswith("batch_size,fits,peak_reserved_bytes,recorder\n")
    )


def test_without_being_asked_nothing_is_tried(lrtool: Lrtool) -> None:
    told = lrtool("diagnose", TOWER, *SMALL, "--json", "--quiet").json

    assert (told["cures"], told["max_batch"]) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cures", "--only", "checkpoint"], "unknown cure 'checkpoint'"),
        (["--cures", "--cure-steps", "1"], "--cure-steps: 1 should be"),
    ],
)
def test_an_argument_that_is_wrong(lrtool: Lrtool, arguments: list[str], message: str) -> None:
    outcome = lrtool("diagnose", TOWER, *arguments)

    assert outcome.code == 2
    assert message in outcome.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("arguments", [["--snapshot", "oom.pickle"], ["last"]])
def test_a_recording_has_nothing_to_try_cures_on(lrtool: Lrtool, arguments: list[str]) -> None:
    outcome = lrtool("diagnose", *arguments, "--cures")

    assert outcome.code == 2
    assert "cures and batches are tried on a workload" in outcome.err


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("option", "module", "function"), [("--cures", cure_trials, "try_cures"), ("--max-batch", max_batch, "find_max_batch")]
)  # fmt: skip
def test_ctrl_c_while_cures_are_tried_keeps_the_diagnosis(
    lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch, option: str, module: Any, function: str
) -> None:
    monkeypatch.setattr(module, function, interrupted)

    outcome = lrtool("diagnose", TOWER, *SMALL, option, "--json")

    assert outcome.code == 130
    assert outcome.json["findings"]
    assert Path("runs/0001-diagnose/run.json").is_file()


def test_a_module_to_checkpoint_that_does_not_exist_is_named(lrtool: Lrtool) -> None:
    outcome = lrtool("diagnose", TOWER, *SMALL, "--cures", "--only", "checkpointing", "--checkpoint", "block.0")

    assert "failed: the model has no module 'block.0'" in " ".join(outcome.out.split())
