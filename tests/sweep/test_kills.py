"""`kill -9` at any moment leaves a run that can be read and resumed, and whose result is that of an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lrtool.results import MemSweep
from lrtool.results.stored.trial_dir import PLAN_FILE
from lrtool.sweep.plan import Plan
from lrtool.sweep.runner import begin_run, conclude, resume_run, run_trials
from tests import ROOT, WORKLOADS
from tests.conftest import Lrtool
from tests.processes import start
from tests.sweep.kill_moments import STEP_SIZES
from tests.sweep.running import InlineExecutor, is_gone, plan_of, processes_of

MOMENTS = 20


def completed(run_dir: Path, plan: Plan) -> MemSweep:
    """The sweep's result after what is missing has been run; times are left out."""
    finished = run_trials(plan, run_dir, InlineExecutor(), on_trial=lambda *_: None)
    result = conclude(plan, finished.reports, run_dir, duration_s=0.0)
    return replace(result, trials=tuple(replace(trial, duration_s=0.0) for trial in result.trials))


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")


def test_a_sweep_killed_at_any_moment_is_completed_to_the_same_result(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.sweep.kill_moments",
        str(tmp_path),
        str(MOMENTS),
        str(random.randrange(10**6)),
    ]
    subprocess.run(command, check=True, cwd=ROOT, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})
    plan = plan_of("good", step_sizes=STEP_SIZES)
    expected = completed(tmp_path / "undisturbed", plan)

    for moment in range(MOMENTS):
        run_dir = tmp_path / f"killed-{moment:02}"
        run_dir.mkdir(exist_ok=True)  # killed before anything was written
        if not (run_dir / PLAN_FILE).is_file():
            begin_run(run_dir, plan)
        assert resume_run(run_dir) == plan
        assert completed(run_dir, plan) == expected, f"killed at moment {moment}: {command}"


@pytest.mark.parametrize("victim", ["sweep", "template", "trial"])
def test_a_killed_process_leaves_a_run_that_is_read_and_resumed(victim: str, tmp_path: Path, lrtool: Lrtool) -> None:
    command = ["mem-sweep", str(WORKLOADS / "waits_for_go.py"), "--step-sizes", "5,6", "--recorder", "predicted"]
    sweep = start(*command, file=tmp_path / "shown")
    trial = _first_trial(tmp_path / "runs")
    template = _parent_of(trial)
    time.sleep(random.uniform(0, 1))
    os.kill({"sweep": sweep.pid, "template": template, "trial": trial}[victim], signal.SIGKILL)
    assert is_gone(trial, within_s=60), "it could write into the run that is resumed"
    assert victim != "sweep" or is_gone(template, within_s=60)
    Path("go").touch()
    assert sweep.wait() == (-signal.SIGKILL if victim == "sweep" else 0), sweep.err
    if victim == "sweep":
        assert lrtool("report", "last").code in (0, 2)
    else:  # a template's end is no fault of the trial, which runs again
        assert ("killed" in lrtool("report", "last").out) is (victim == "trial")
    outcome = lrtool("mem-sweep", "--resume", "last", "--json")

    assert outcome.code == 0
    statuses = sorted(found["status"] for found in outcome.json["trials"])
    assert statuses == ["ok", "ok"]
    assert lrtool("report", "last").code == 0


def _first_trial(folder: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for pid in processes_of(folder):
            return pid
        time.sleep(0.02)
    raise AssertionError("no trial began")


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_two_sweeps_at_once_in_one_folder_do_not_mix(tmp_path: Path) -> None:
    common = ("mem-sweep", WORKLOADS / "good.py", "--recorder", "predicted", "--json")
    sweeps = [start(*common, "--step-sizes", size, file=tmp_path / f"shown-{size}") for size in ("5", "7")]
    assert [sweep.wait() for sweep in sweeps] == [0, 0]
    told = [json.loads(sweep.out) for sweep in sweeps]

    assert [[trial["step_size_up"] for trial in each["trials"]] for each in told] == [[5], [7]]
    assert told[0]["run_dir"] != told[1]["run_dir"]
    for each in told:
        assert len(list((tmp_path / each["run_dir"]).glob("trials/*/result.json"))) == 1
