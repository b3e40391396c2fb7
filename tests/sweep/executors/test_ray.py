"""Trials on a real Ray cluster: the same results as at home, and only what a node took with it runs again."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lrtool.config import DiagnoseSettings
from lrtool.errors import UnavailableError
from lrtool.sweep import executors
from lrtool.sweep.executors import ray_task
from lrtool.sweep.executors.executor import Demand
from lrtool.sweep.executors.ray import RayExecutor, TaskRequest
from lrtool.sweep.reports import SWEEP_TRIAL
from lrtool.sweep.runner import begin_run, run_trials
from tests import WORKLOADS
from tests.conftest import Lrtool
from tests.sweep.running import InlineExecutor, is_gone, plan_of, run

REQUEST = TaskRequest(num_cpus=1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and another node, with a CPU each."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }  # a nice worker starves on a busy machine
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()


def executor_of(cluster: Any, **options: Any) -> RayExecutor:
    return RayExecutor(address=cluster.address, request=REQUEST, **options)


def test_a_cluster_gives_the_results_of_this_process(cluster: Any, tmp_path: Path) -> None:
    plan = plan_of("good", step_sizes=(5, 6))
    here = run(plan, tmp_path / "here", InlineExecutor())
    there = run(plan, tmp_path / "there", executor_of(cluster))

    assert [t.max_memory_reserved_bytes for t in there] == [t.max_memory_reserved_bytes for t in here]
    for folder in ("001", "002"):
        steps = [tmp_path / place / "trials" / folder / "steps.csv" for place in ("here", "there")]
        assert steps[0].read_bytes() == steps[1].read_bytes()


def test_what_ends_a_process_there_is_a_result_and_is_not_run_again(cluster: Any, tmp_path: Path) -> None:
    plan = plan_of("ends_badly", params={"how": "kill,exit,hang"}, order="given")
    killed, left, hung = run(plan, tmp_path, executor_of(cluster, timeout_s=20.0))

    assert (killed.status, left.status, hung.status) == ("killed", "failed", "timeout")
    assert left.message == "its process ended with exit code 9"


def test_a_node_that_is_killed_loses_nothing_and_nothing_finished_runs_twice(cluster: Any, tmp_path: Path) -> None:
    """The node dies while it runs a trial, after others are done: their starts are counted."""
    starts = tmp_path / "starts"
    starts.mkdir()
    plan = plan_of(
        "notes_its_start", params={"folder": str(starts), "lasts_s": "4"}, step_sizes=(5, 6, 7, 8), order="given"
    )
    (tmp_path / "run").mkdir()
    begin_run(tmp_path / "run", plan)
    finished_before: list[int] = []

    def kill_the_other_node(number: int) -> None:
        finished_before.append(number)
        if len(finished_before) == 2:
            threading.Thread(target=_kill_when_both_run, args=(cluster, starts)).start()

    found = run_trials(
        plan, tmp_path / "run", executor_of(cluster), on_trial=lambda trial, *_: kill_the_other_node(trial.number)
    )
    began = Counter(path.name.partition("-")[0] for path in starts.iterdir())

    assert [report.trial.status for report in found.reports] == ["ok"] * 4
    sizes = {report.trial.number: str(report.trial.condition.step_size_up) for report in found.reports}
    assert all(began[sizes[number]] == 1 for number in finished_before[:2])
    assert sorted(began.values()) == [1, 1, 1, 2]


def _kill_when_both_run(cluster: Any, starts: Path) -> None:
    while len(list(starts.iterdir())) < 4:
        time.sleep(0.1)
    others = [node for node in cluster.worker_nodes if node is not cluster.head_node]
    cluster.remove_node(others[0], allow_graceful=False)


def test_a_diagnosis_and_its_cures_run_there_too(cluster: Any, tmp_path: Path) -> None:
    """Several runs of one executor, each of another kind of trial; the settings name the executor and its cluster."""
    from lrtool.diagnosis.cure_trials.reports import CureSetup
    from lrtool.diagnosis.cure_trials.session import try_cures
    from lrtool.diagnosis.cures.registry import find_cures
    from lrtool.diagnosis.diagnose import run_diagnosis
    from lrtool.diagnosis.reports import DiagnosisSetup

    settings = DiagnoseSettings(executor="ray", ray_address=cluster.address)
    executor = executors.executor_of(settings, Demand(recorder="predicted", device="auto"))
    asked: dict[str, Any] = {
        "target": str(WORKLOADS / "good.py"), "params": {}, "recorder": "predicted", "device": "auto", "gpu": "t4",
        "capacity_bytes": None, "seed": 0, "num_steps": 3, "settings": "",
    }  # fmt: skip
    found, _ = run_diagnosis(DiagnosisSetup(**asked), tmp_path / "trial", executor, reason="a test", card=None)
    cures = try_cures(
        CureSetup(**asked), tmp_path / "cures", executor, cures=find_cures(("bf16",)), on_trial=lambda *_: None
    )

    assert isinstance(executor, RayExecutor)
    assert found.findings[0].cause == "none"
    assert "bf16" in {effect.name for effect in cures.effects if effect.figures is not None}


def test_ctrl_c_cancels_what_runs(cluster: Any, tmp_path: Path) -> None:
    plan = plan_of("notes_its_start", params={"folder": str(tmp_path), "lasts_s": "60"}, step_sizes=(5,))
    (tmp_path / "run").mkdir()
    begin_run(tmp_path / "run", plan)

    def interrupt() -> None:
        while not list(tmp_path.glob("5-*")):
            time.sleep(0.1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    found = run_trials(plan, tmp_path / "run", executor_of(cluster), on_trial=lambda *_: None)

    assert found.was_interrupted
    assert list((tmp_path / "run" / "trials").iterdir()) == []
    pid = int(next(tmp_path.glob("5-*")).name.partition("-")[2])
    assert is_gone(pid, within_s=20)


def test_a_head_that_goes_away_ends_the_sweep_and_keeps_what_is_done(cluster: Any, tmp_path: Path) -> None:
    """The last test of this cluster; in a process of its own, because Ray ends one whose head is gone."""
    target = [sys.executable, "-m", "lrtool", "mem-sweep", str(WORKLOADS / "notes_its_start.py")]
    options = ["--param", f"folder={tmp_path}", "--param", "lasts_s=1", "--step-sizes", "5,6,7,8"]
    ray_options = ["--executor", "ray", "--ray-address", cluster.address, "--out", str(tmp_path / "runs")]
    with (tmp_path / "errors.txt").open("w") as errors:
        sweep = subprocess.Popen([*target, *options, *ray_options], stdout=errors, stderr=errors)
    try:
        _wait_for(tmp_path, "runs/*/trials/*/result.json")
        cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        code = sweep.wait(timeout=60)
    finally:
        sweep.kill()

    assert code == UnavailableError.exit_code, (tmp_path / "errors.txt").read_text()
    assert "error: the head of the Ray cluster at" in (tmp_path / "errors.txt").read_text()
    assert len(list(tmp_path.glob("runs/*/trials/*/result.json"))) in {1, 2, 3}


def _wait_for(folder: Path, pattern: str, *, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not list(folder.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.05)


def test_without_ray_the_pip_line_is_told(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = lrtool("mem-sweep", WORKLOADS / "good.py", "--step-sizes", "5", "--executor", "ray")

    assert outcome.code == 4
    assert "error: --executor ray needs Ray, which is not installed" in outcome.err
    assert "hint: pip install 'lrtool[ray]'" in outcome.err
    assert not Path("runs").exists()


def test_no_cluster_at_an_address_is_told_at_once(lrtool: Lrtool) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    outcome = lrtool(
        "mem-sweep", WORKLOADS / "good.py", "--step-sizes", "5", "--executor", "ray", "--ray-address", "127.0.0.1:1"
    )

    assert outcome.code == 4
    assert "error: no Ray cluster at 127.0.0.1:1" in outcome.err


def order_for(tmp_path: Path, target: str, **changes: Any) -> ray_task.Order:
    import torch

    from lrtool.results.stored.trial_dir import TRIAL_FILE

    plan = plan_of(target)
    run(plan, tmp_path / "planned", InlineExecutor())
    trial = (tmp_path / "planned" / "trials" / "001" / TRIAL_FILE).read_bytes()
    known: dict[str, Any] = {
        "name": "001",
        "module": SWEEP_TRIAL.module,
        "trial": trial,
        "environment": {},
        "folder": "/",
        "timeout_s": None,
    }
    return ray_task.Order(**{**known, "torch": str(torch.__version__), **changes})


def test_a_node_with_another_torch_is_refused(tmp_path: Path) -> None:
    delivery = ray_task.run_order(order_for(tmp_path, "good", torch="2.6.0"))

    assert delivery.exit_code == 4
    assert b"the sweep runs under 2.6.0: install the same everywhere" in delivery.files["log.txt"]


def test_a_node_without_the_users_file_says_so(tmp_path: Path) -> None:
    order = order_for(tmp_path, "good")
    moved = order.trial.replace(b"workloads/good.py", b"elsewhere/good.py")
    delivery = ray_task.run_order(order_for(tmp_path, "good", trial=moved))

    assert b"there is no file" in delivery.files["result.json"]
    assert b'"status": "failed"' in delivery.files["result.json"]
