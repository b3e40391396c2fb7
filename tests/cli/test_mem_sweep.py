"""`lrtool mem-sweep`: what it prints and stores, where its LRs come from, and how it ends."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.test_bad_input import check_told
from tests.conftest import Lrtool
from tests.processes import start
from tests.sweep.running import processes_of

WorkloadFile = Callable[[str], Path]
TRIAL_KEYS = {
    "step_size_up", "num_steps", "status", "max_memory_allocated_bytes", "max_memory_reserved_bytes", "fragmentation",
    "inactive_split_bytes", "growth_bytes_per_step", "recorder",
}  # fmt: skip
VERDICT_KEYS = {
    "text", "step_size_matters", "max_abs_difference_at_equal_steps_bytes", "growth_bytes_per_step", "growth_source",
    "forecast_step",
}  # fmt: skip


@pytest.mark.painted
def test_the_question_of_the_mission_on_a_machine_without_a_gpu(lrtool: Lrtool) -> None:
    begin = time.monotonic()
    outcome = lrtool("mem-sweep", "--step-sizes", "2500,3000,3500", "--recorder", "predicted", "--jobs", "2", "--json")
    document = outcome.json
    trials = document["trials"]

    assert (outcome.code, document["schema"], document["command"]) == (0, 1, "mem-sweep")
    assert time.monotonic() - begin < 60
    assert all(trial.keys() >= TRIAL_KEYS for trial in trials)
    assert document["verdict"].keys() >= VERDICT_KEYS
    assert [(t["step_size_up"], t["num_steps"], t["status"], t["recorder"]) for t in trials] == [
        (size, 2 * size, "ok", "predicted") for size in (2500, 3000, 3500)
    ]
    assert len({trial["max_memory_allocated_bytes"] for trial in trials}) == 1
    assert document["verdict"]["step_size_matters"] is False
    assert document["verdict"]["max_abs_difference_at_equal_steps_bytes"] == 0
    assert "memory sweep of digits (bundled; no target was given): 3 trials, recorder predicted" in outcome.err
    assert "LR from the optimizer" in outcome.err
    assert outcome.err.count(", predicted, ok, ") == 3

    assert lrtool("report", "last", "--json").json == document


def test_the_lrs_are_those_of_the_last_range_test_of_the_target(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    found = lrtool("range-test", workload_file("good"), "--json").json
    lrtool("range-test", "--num-steps", "20")
    outcome = lrtool("mem-sweep", workload_file("good"), "--steps", "4", "--step-sizes", "2", "--json")

    assert (outcome.json["base_lr"], outcome.json["max_lr"]) == (found["base_lr"], found["max_lr"])
    assert "from the range test runs/0001-range-test" in outcome.err


def test_settings_come_from_the_file_and_the_run_directory_holds_everything(
    lrtool: Lrtool, workload_file: WorkloadFile
) -> None:
    Path("lrtool.toml").write_text(
        f'target = "{workload_file("good")}"\n[mem-sweep]\nstep-sizes = [3]\nbatch-size = [16, 32]\n'
        "base-lr = 0.1\nmax-lr = 0.2\njobs = 2\n"
    )
    outcome = lrtool("mem-sweep", "--capacity", "24GiB", "--quiet")
    run_dir = Path("runs/0001-mem-sweep")
    stored = json.loads((run_dir / "run.json").read_text())

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1].startswith("Wrote runs/0001-mem-sweep/")
    assert stored["result"]["capacity_bytes"] == 24 * 2**30
    assert (stored["result"]["base_lr"], stored["result"]["max_lr"]) == (0.1, 0.2)
    assert list(pd.read_csv(run_dir / "trials.csv")["param_batch_size"]) == [16, 32]
    assert sorted(p.name for p in (run_dir / "trials").iterdir()) == ["001", "002"]


@pytest.mark.painted
def test_trials_that_ran_out_of_memory_are_a_result(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("mem-sweep", workload_file("good"), "--step-sizes", "3", "--capacity", "64KiB", "--json")

    assert outcome.code == 0
    assert [trial["status"] for trial in outcome.json["trials"]] == ["oom"]


@pytest.mark.painted
def test_where_every_trial_fails_the_users_error_is_told(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    arguments = ("--step-sizes", "3,4", "--param", "how=crash", "--json", "--jobs", "2")
    outcome = lrtool("mem-sweep", workload_file("ends_badly"), *arguments)

    assert outcome.code == 3
    assert [trial["status"] for trial in outcome.json["trials"]] == ["failed", "failed"]
    assert "error: every trial failed: the training step raised ValueError: the data went bad" in outcome.err
    assert 'ends_badly.py", line' in outcome.err


def until(condition: Callable[[], object], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_ctrl_c_ends_the_children_keeps_what_is_finished_and_says_how_to_go_on(
    lrtool: Lrtool, tmp_path: Path, workload_file: WorkloadFile
) -> None:
    out = tmp_path / "kept"
    run_dir = out / "0001-mem-sweep"
    arguments = ("--step-sizes", "3", "--param", "how=well,hang", "--order", "given", "--out", str(out))
    sweep = start("mem-sweep", workload_file("ends_badly"), *arguments, file=tmp_path / "shown")
    assert until((run_dir / "trials/002/trial.json").exists)
    assert until(lambda: processes_of(run_dir))
    sweep.signal(signal.SIGINT)

    assert sweep.wait(60) == 130
    assert until(lambda: not processes_of(run_dir), seconds=10)
    assert "interrupted after 1 of 2 trials" in sweep.err
    assert f"lrtool mem-sweep --resume {run_dir}" in sweep.err
    assert f"Wrote {run_dir}" in sweep.out
    assert [p.name for p in (run_dir / "trials").iterdir()] == ["001"]

    resumed = lrtool("mem-sweep", "--resume", run_dir, "--timeout", "1", "--json")
    assert [trial["status"] for trial in resumed.json["trials"]] == ["ok", "timeout"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_children_die_with_a_sweep_that_is_killed(tmp_path: Path, workload_file: WorkloadFile) -> None:
    run_dir = tmp_path / "runs/0001-mem-sweep"
    arguments = ("--step-sizes", "3", "--param", "how=hang", "--out", str(tmp_path / "runs"))
    sweep = start("mem-sweep", workload_file("ends_badly"), *arguments, file=tmp_path / "shown")
    assert until(lambda: processes_of(run_dir))
    time.sleep(0.5)
    sweep.signal(signal.SIGKILL)
    assert sweep.wait() == -signal.SIGKILL

    assert until(lambda: not processes_of(run_dir), seconds=20)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.py"], 2, "there is no file none.py"),
        (["--step-sizes", "2500,many"], 2, "--step-sizes: 'many' should be a valid integer"),
        (["--step-sizes", "0"], 2, "--step-sizes: 0 should be greater"),
        (["--step-sizes", ""], 2, "--step-sizes: '' should be a valid integer"),
        (["--mode", "triangle"], 2, "--mode: 'triangle' should be 'triangular'"),
        (["--schedule", "cosine"], 2, "--schedule: 'cosine' should be"),
        (["--precision", "fp8"], 2, "--precision: 'fp8' should be"),
        (["--gamma", "0"], 2, "--gamma: 0.0 should be greater"),
        (["--steps", "0"], 2, "--steps: 0 should be greater"),
        (["--order", "random"], 2, "--order: 'random' should be"),
        (["--jobs", "0"], 2, "--jobs: 0 should be"),
        (["--timeout", "-1"], 2, "--timeout: -1.0 should be"),
        (["--recorder", "gpu"], 2, "--recorder: 'gpu' should be"),
        (["--gpu", "h1000"], 2, "--gpu: unknown card 'h1000'"),
        (["--capacity", "lots"], 2, "unknown card 'lots'"),
        (["--settings", "expandable:True"], 2, "expandable"),
        (["--base-lr", "0.1"], 2, "base-lr is given, and max-lr is not"),
        (["--base-lr", "0.1", "--max-lr", "0.01"], 2, "base-lr 0.1 is above max-lr 0.01"),
        (["--param", "batchsize=3"], 2, "build() has no argument 'batchsize'"),
        (["--batch-size", "8,x"], 2, "--batch-size: 'x' should be a valid integer"),
        (["--resume", "last"], 2, "no run 'last'"),
        (["--resume", "last", "--steps", "5"], 2, "--resume and --steps do not go together"),
        (["--step-sizes", "99999999999"], 2, "--step-sizes: 99999999999 should be less than"),
        (["--device", "cuda:99"], 4, "device cuda:99 was asked for"),
        (["--device", "tpu-of-mine"], 2, "unknown device"),
        (["--device", "cpu", "--recorder", "cuda"], 2, "--recorder cuda does not go with --device cpu"),
    ],
)
def test_an_argument_that_is_wrong(lrtool: Lrtool, arguments: list[str], code: int, message: str) -> None:
    check_told(lrtool("mem-sweep", *arguments), code, message)
    assert not Path("runs").exists()


def test_a_wrong_value_of_a_list_is_told_with_the_default_list(lrtool: Lrtool) -> None:
    assert lrtool("mem-sweep", "--step-sizes", "3,,4").err.splitlines()[-1] == "hint: the default is 2500,3000,3500"


def test_an_empty_target_is_no_target_of_ours(lrtool: Lrtool) -> None:
    outcome = lrtool("mem-sweep", "", "--step-sizes", "3")

    assert outcome.code == 2
    assert "is neither a file" in outcome.err.splitlines()[-2]
