"""`lrtool range-test`: what it prints, what it stores, and where its settings come from."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Lrtool

WorkloadFile = Callable[[str], Path]
KEYS = {
    "schema", "command", "base_lr", "max_lr", "suggested_lr", "param_groups", "confidence", "rule", "reason", "stopped",
    "num_steps", "curve", "run_dir",
}  # fmt: skip


def test_the_first_line_is_the_answer_and_the_last_says_what_next(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("range-test", workload_file("good"))
    lines = outcome.out.splitlines()

    assert outcome.code == 0
    assert lines[0].startswith("Cycle the learning rate between ")
    assert lines[-1] == "Wrote runs/0001-range-test/curve.png. Next: lrtool report runs/0001-range-test"


def test_the_line_to_paste_makes_the_scheduler_that_was_suggested(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    import torch
    from torch.optim.lr_scheduler import CyclicLR

    document = lrtool("range-test", workload_file("two_groups"), "--json").json
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    scheduler = eval(document["schedule_line"], {"CyclicLR": CyclicLR, "optimizer": optimizer})

    assert scheduler.base_lrs == pytest.approx([group["base_lr"] for group in document["param_groups"]], rel=0.01)
    assert scheduler.max_lrs == pytest.approx([group["max_lr"] for group in document["param_groups"]], rel=0.01)
    assert scheduler.total_size == 2 * document["step_size_up"] == 2 * 4 * 16


def test_json_is_one_document_and_nothing_else(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("range-test", workload_file("good"), "--json", "--num-steps", "60")
    document = json.loads(outcome.out)

    assert document.keys() >= KEYS
    assert (document["schema"], document["command"]) == (1, "range-test")
    assert set(document["curve"]) == {"lr", "loss", "smoothed_loss"}
    assert len({len(values) for values in document["curve"].values()}) == 1
    assert len(document["curve"]["lr"]) == document["num_steps"]
    assert document["param_groups"] == [{key: document[key] for key in ("base_lr", "max_lr", "suggested_lr")}]
    assert 0 < document["base_lr"] < document["suggested_lr"] <= document["max_lr"]
    assert Path(document["run_dir"]).is_dir()


@pytest.mark.painted
def test_the_run_directory_holds_everything(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    document = lrtool("range-test", workload_file("good"), "--json").json
    run_dir = Path(document["run_dir"])
    table = pd.read_csv(run_dir / "curve.csv")
    stored = json.loads((run_dir / "run.json").read_text())

    assert sorted(p.name for p in run_dir.iterdir()) == ["curve.csv", "curve.png", "curve.svg", "run.json"]
    assert list(table["loss"]) == document["curve"]["loss"]
    assert list(table["step"]) == list(range(1, len(document["curve"]["loss"]) + 1))
    assert stored["settings"]["range_test"]["num_steps"] == "auto"
    assert stored["environment"]["torch"].startswith("2.")
    assert (run_dir / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (run_dir / "curve.svg").read_text()


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(
    lrtool: Lrtool, workload_file: WorkloadFile
) -> None:
    file = workload_file("good")
    first, again, other = (
        lrtool("range-test", file, "--seed", seed, "--json").json["curve"]["loss"] for seed in ("1", "1", "2")
    )

    assert first == again
    assert first != other


def test_the_ramp_is_exponential_with_both_ends(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    arguments = ("--start-lr", "1e-6", "--end-lr", "1e-3", "--num-steps", "31", "--json")
    document = lrtool("range-test", workload_file("good"), *arguments).json
    lrs = document["curve"]["lr"]

    assert document["stopped"] == "end"
    assert (lrs[0], lrs[-1]) == pytest.approx((1e-6, 1e-3))
    assert [b / a for a, b in pairwise(lrs)] == pytest.approx([10**0.1] * 30)


def test_a_linear_ramp(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    arguments = ("--mode", "linear", "--start-lr", "0.01", "--end-lr", "0.31", "--num-steps", "31", "--json")
    lrs = lrtool("range-test", workload_file("good"), *arguments).json["curve"]["lr"]

    assert [b - a for a, b in pairwise(lrs)] == pytest.approx([0.01] * 30)


def test_groups_keep_the_ratio_of_their_lrs(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    document = lrtool("range-test", workload_file("two_groups"), "--json").json
    body, head = document["param_groups"]

    for key in ("base_lr", "max_lr", "suggested_lr"):
        assert head[key] == document[key]
        assert body[key] == pytest.approx(head[key] / 10)


@pytest.mark.painted
def test_repeats_give_a_band_and_a_column_each(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    document = lrtool("range-test", workload_file("good"), "--repeats", "3", "--json").json
    table = pd.read_csv(Path(document["run_dir"]) / "curve.csv")
    band = document["band"]

    assert len(document["repeats"]) == 3
    assert {"loss_1", "loss_2", "loss_3"} <= set(table.columns)
    assert all(low <= high for low, high in zip(band["low"], band["high"], strict=True))
    assert document["repeats"][0]["loss"] != document["repeats"][1]["loss"]


@pytest.mark.painted
def test_a_loss_below_zero_is_as_good_as_any(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    plain = lrtool("range-test", workload_file("good"), "--json").json
    negative = lrtool("range-test", workload_file("negative_loss"), "--json").json

    assert negative["max_lr"] == pytest.approx(plain["max_lr"], rel=0.01)
    assert negative["stopped"] == plain["stopped"]


@pytest.mark.painted
def test_divergence_is_told_and_the_points_before_are_kept(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    document = lrtool("range-test", workload_file("diverges"), "--json", "--end-lr", "1000", "--num-steps", "100").json

    assert document["stopped"] in ("diverged", "non-finite")
    assert "at step" in document["stop_reason"]
    assert 10 < document["num_steps"] < 100


@pytest.mark.painted
def test_where_the_curve_supports_nothing_it_says_so(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("range-test", workload_file("rises"))
    document = lrtool("range-test", workload_file("rises"), "--json").json

    assert outcome.code == 0
    assert outcome.out.splitlines()[0].startswith("No suggestion: ")
    assert "CyclicLR" not in outcome.out
    assert (document["confidence"], document["max_lr"], document["param_groups"][0]["base_lr"]) == ("none", None, None)
    assert document["advice"]


@pytest.mark.painted
def test_a_one_shot_loader_that_ends_keeps_the_points(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("range-test", workload_file("generator_loader"), "--json")

    assert outcome.code == 0
    assert (outcome.json["stopped"], outcome.json["num_steps"]) == ("loader-ended", 50)


def test_params_reach_build(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    arguments = ("--param", "batch_size=128", "-p", "optimizer=adamw", "--json")
    document = lrtool("range-test", workload_file("good"), *arguments).json

    assert (document["steps_per_epoch"], document["optimizer"]) == (4, "AdamW")


def test_settings_come_from_the_file_beside_the_target(
    lrtool: Lrtool, tmp_path: Path, workload_file: WorkloadFile
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "mine.py").write_text(workload_file("good").read_text())
    (project / "lrtool.toml").write_text("seed = 5\n[range-test]\nnum-steps = 33\n")
    outcome = lrtool("range-test", "project/mine.py", "--json")

    assert outcome.json["settings"]["range_test"]["num_steps"] == 33
    assert f"settings from {project / 'lrtool.toml'}" in outcome.err


def test_command_line_beats_environment_beats_file(
    lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch, workload_file: WorkloadFile
) -> None:
    Path("x.toml").write_text("seed = 1\n[range-test]\nnum-steps = 21\nrepeats = 2\nper-group = true\n")
    monkeypatch.setenv("LRTOOL_NUM_STEPS", "22")
    monkeypatch.setenv("LRTOOL_SEED", "2")
    monkeypatch.setenv("LRTOOL_PER_GROUP", "0")
    document = lrtool("range-test", workload_file("good"), "--config", "x.toml", "--seed", "3", "--json").json

    assert (document["settings"]["seed"], document["settings"]["range_test"]["num_steps"]) == (3, 22)
    assert document["settings"]["range_test"]["repeats"] == 2
    assert document["settings"]["range_test"]["per_group"] is False


def test_without_a_target_the_bundled_digits_are_taken_and_said(lrtool: Lrtool) -> None:
    outcome = lrtool("range-test", "--num-steps", "20")

    assert "range test of digits (bundled; no target was given) on cpu" in outcome.err


@pytest.mark.parametrize(
    ("name", "num_steps"), [("digits", "auto"), ("digits-cnn", "auto"), ("char-transformer", "100")]
)
def test_the_bundled_workloads_get_a_suggestion(lrtool: Lrtool, name: str, num_steps: str) -> None:
    document = lrtool("range-test", name, "--num-steps", num_steps, "--json").json

    assert 1e-4 < document["max_lr"] < 5
    assert document["confidence"] in ("medium", "high")


def test_quiet_says_nothing_but_the_result(lrtool: Lrtool) -> None:
    outcome = lrtool("range-test", "--num-steps", "20", "--quiet")

    assert outcome.err == ""
    assert outcome.out != ""


def test_run_directories_are_numbered(lrtool: Lrtool) -> None:
    for _ in range(2):
        lrtool("range-test", "--num-steps", "20", "--out", "kept")

    assert sorted(p.name for p in Path("kept").iterdir()) == ["0001-range-test", "0002-range-test"]


@pytest.mark.parametrize(("arguments", "environment"), [(["--confirm"], None), ([], "constant")])
def test_confirming_is_asked_for_bare_and_by_the_environment(
    arguments: list[str],
    environment: str | None,
    lrtool: Lrtool,
    workload_file: WorkloadFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if environment is not None:
        monkeypatch.setenv("LRTOOL_CONFIRM", environment)
    document = lrtool("range-test", workload_file("good"), "--num-steps", "60", "--json", *arguments).json

    assert document["confirmation"]["schedule"] == (environment or "cyclic")
    assert document["num_steps"] == 60 + document["confirmation"]["num_steps"] <= 1000
