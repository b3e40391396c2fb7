"""Trials forked from a template: each finds what a trial finds that is started afresh, and nothing is left of either."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lrtool.results import Recorder, Trial
from lrtool.sweep.executors import subprocess as executors
from lrtool.sweep.executors import template
from lrtool.sweep.executors.subprocess import SubprocessExecutor
from lrtool.sweep.executors.template import Forked
from lrtool.sweep.plan import Plan
from lrtool.sweep.runner import begin_run, run_trials
from tests.sweep.running import is_gone, plan_of, run
from tests.sweep.test_runner import without_times

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing is forked")
MANY_DESCRIPTORS = 1500
ROOT = str(Path(template.__file__).parents[2])
TWO_SLOTS: list[dict[str, str]] = [{}, {}]


@pytest.fixture
def own_templates(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[template.Template]]:
    """Templates that end with the test; there is none when it begins."""
    templates: list[template.Template] = []
    monkeypatch.setattr(template, "_TEMPLATES", templates)
    yield templates
    for each in templates:
        each.end()


def plan_that_tells(folder: Path, *, numbers: str = "1,2", recorder: Recorder = "predicted") -> Plan:
    """Trials each of which leaves a file in `folder`."""
    folder.mkdir(exist_ok=True)
    return plan_of(
        "tells_of_its_process", params={"folder": str(folder), "number": numbers}, order="given", recorder=recorder
    )


def told(folder: Path) -> list[dict[str, Any]]:
    """What the trials told, by their numbers."""
    found = [json.loads(file.read_text()) for file in folder.iterdir()]
    return sorted(found, key=lambda each: int(each["number"]))


@dataclass(frozen=True)
class Two:
    """Two trials that ran at once: their figures, and what they told of their processes."""

    trials: list[Trial]
    told: list[dict[str, Any]]


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Two:
    return two_trials(tmp_path_factory.mktemp("forked"), can_fork=True)


@pytest.fixture(scope="module")
def afresh(tmp_path_factory: pytest.TempPathFactory) -> Two:
    return two_trials(tmp_path_factory.mktemp("afresh"), can_fork=False)


def two_trials(folder: Path, *, can_fork: bool) -> Two:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([".", "beside"]))
        patch.setattr(executors, "CAN_FORK", can_fork)
        trials = run(
            plan_that_tells(folder / "notes", recorder="cpu"), folder / "run", SubprocessExecutor(slots=TWO_SLOTS)
        )
    return Two(trials, told(folder / "notes"))


def without_dynamo(process: dict[str, Any]) -> dict[str, Any]:
    """Without what the import of torch._dynamo leaves: a variable, and a filter of sympy's warnings."""
    environment = {name: value for name, value in process["environment"].items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    return {
        **process,
        "environment": environment,
        "warnings": [each for each in process["warnings"] if "sympy" not in each],
    }


def test_a_forked_trial_finds_what_one_that_is_started_afresh_finds(forked: Two, afresh: Two) -> None:
    """Also while others run: their pipes are not its own.

    What the first optimizer imports is there already, and what was imported before the fork is left to no collection.
    """
    found = [without_dynamo(each["process"]) for each in (*forked.told, *afresh.told)]

    assert len({each["pid"] for each in (*forked.told, *afresh.told)}) == 4
    assert all(each == found[0] for each in found)
    assert found[0]["descriptors"].count("pipe") == 1


def test_a_forked_trial_takes_the_memory_of_one_that_is_started_afresh(forked: Two, afresh: Two) -> None:
    """What it had taken until the user's file was imported, and what was recorded of its steps."""
    of_forked, of_afresh = forked.told[0]["memory"], afresh.told[0]["memory"]

    assert without_times(forked.trials) == [
        replace(trial, condition=forked.trials[number].condition)
        for number, trial in enumerate(without_times(afresh.trials))
    ]
    assert all(of_forked[name] <= 1.1 * of_afresh[name] for name in of_forked)


def test_a_forked_trial_is_predicted_to_take_what_one_that_is_started_afresh_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_that_tells(tmp_path / "notes", numbers="1")
    in_fork = run(plan, tmp_path / "forked", SubprocessExecutor())
    monkeypatch.setattr(executors, "CAN_FORK", False)

    assert without_times(in_fork) == without_times(run(plan, tmp_path / "afresh", SubprocessExecutor()))


def test_what_nobody_seeds_differs_from_trial_to_trial(forked: Two) -> None:
    first, second = (each["drawn"] for each in forked.told)

    assert [name for name in first if first[name] == second[name]] == []


def test_it_differs_too_where_numpy_has_drawn_its_seed_before_the_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_templates: list[template.Template]
) -> None:
    monkeypatch.setattr(template, "MODULE", "tests.sweep.executors.template_with_numpy")
    run(plan_that_tells(tmp_path / "notes"), tmp_path / "run", SubprocessExecutor())
    first, second = (each["drawn"] for each in told(tmp_path / "notes"))

    assert not own_templates[0].has_ended()
    assert first["numpy"] != second["numpy"]


def test_workers_start_in_every_way_from_a_forked_trial(tmp_path: Path) -> None:
    plan = plan_of("spawn_loader", params={"context": "spawn,forkserver,fork"}, recorder="cpu", step_sizes=(3,))
    trials = run(plan, tmp_path, SubprocessExecutor(slots=TWO_SLOTS, timeout_s=120))

    assert [(trial.status, trial.message) for trial in trials] == [("ok", None)] * 3


def test_a_changed_environment_and_folder_reach_the_next_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    run(plan_that_tells(tmp_path / "first", numbers="1"), tmp_path / "run1", SubprocessExecutor())
    monkeypatch.chdir(tmp_path / "there")
    run(plan_that_tells(tmp_path / "second", numbers="1"), tmp_path / "run2", SubprocessExecutor())
    monkeypatch.setenv("MARK", "x")
    run(plan_that_tells(tmp_path / "third", numbers="1"), tmp_path / "run3", SubprocessExecutor())
    found = [told(tmp_path / name)[0]["process"] for name in ("first", "second", "third")]

    assert [Path(each["cwd"]).name for each in found] == [tmp_path.name, "there", "there"]
    assert [each["environment"].get("MARK") for each in found] == [None, None, "x"]


def test_what_one_trial_does_to_its_process_the_next_does_not_find(tmp_path: Path) -> None:
    run(plan_of("ends_badly", params={"how": "spoil-process"}), tmp_path / "run1", SubprocessExecutor())
    run(plan_that_tells(tmp_path / "notes", numbers="1"), tmp_path / "run2", SubprocessExecutor())
    found = told(tmp_path / "notes")[0]["process"]

    assert found["cwd"] == str(Path.cwd())
    assert "SPOILT" not in found["environment"]
    assert "/spoilt" not in found["path"]
    assert found["torch_modes"] == ["torch.float32", True, False]


def test_where_there_is_no_template_trials_are_started_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_templates: list[template.Template]
) -> None:
    monkeypatch.setattr(template, "MODULE", "lrtool.no_such_module")
    trials = run(plan_that_tells(tmp_path / "notes"), tmp_path / "run", SubprocessExecutor())

    assert [trial.status for trial in trials] == ["ok", "ok"]
    assert len(told(tmp_path / "notes")) == 2


def test_a_request_too_large_for_a_template_is_started_afresh(
    tmp_path: Path, own_templates: list[template.Template]
) -> None:
    large = "x" * (template.MAX_REQUEST_BYTES + 1)
    (trial,) = run(
        plan_that_tells(tmp_path / "notes", numbers="1"), tmp_path / "run", SubprocessExecutor(slots=[{"LARGE": large}])
    )

    assert trial.status == "ok"
    assert told(tmp_path / "notes")[0]["process"]["environment"]["LARGE"] == large
    assert not own_templates[0].has_ended()


def test_a_trial_is_ended_after_its_time_where_its_template_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_templates: list[template.Template]
) -> None:
    monkeypatch.setattr(template, "MODULE", "tests.sweep.executors.template_that_hangs")
    trials = run(plan_that_tells(tmp_path / "notes"), tmp_path / "run", SubprocessExecutor(timeout_s=0.2))

    assert [trial.status for trial in trials] == ["timeout", "timeout"]
    assert told(tmp_path / "notes") == []


def test_ctrl_c_does_not_wait_for_a_template_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_templates: list[template.Template]
) -> None:
    def interrupt() -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(template, "MODULE", "tests.sweep.executors.template_that_hangs")
    plan = plan_that_tells(tmp_path / "notes")
    (tmp_path / "run").mkdir()
    begin_run(tmp_path / "run", plan)
    executor = SubprocessExecutor(is_given_up=interrupt)
    finished = run_trials(plan, tmp_path / "run", executor, on_trial=lambda *_: None)

    assert finished.was_interrupted
    assert own_templates[0].has_ended()
    assert told(tmp_path / "notes") == []


def test_nothing_is_left_of_trials_that_have_ended(tmp_path: Path) -> None:
    """Neither in this process nor in the template: no descriptor, no process."""

    def left(name: str) -> tuple[int, int, str]:
        run(
            plan_of("ends_badly", params={"how": "well,crash,kill"}),
            tmp_path / name,
            SubprocessExecutor(slots=TWO_SLOTS),
        )
        pid = template._TEMPLATES[0]._process.pid
        return num_descriptors("self"), num_descriptors(str(pid)), Path(f"/proc/{pid}/task/{pid}/children").read_text()

    before = left("first")

    assert left("second") == before
    assert before[2] == ""


def num_descriptors(process: str) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def test_a_template_is_replaced_and_ended_where_the_environment_changes(
    monkeypatch: pytest.MonkeyPatch, own_templates: list[template.Template]
) -> None:
    first = template.template_for({**os.environ})
    assert template.template_for({**os.environ}) is first
    second = template.template_for({**os.environ, "MARK": "x"})

    assert own_templates == [second]
    assert first.has_ended()
    assert not second.has_ended()


def test_a_fork_of_this_process_lets_go_of_the_template(own_templates: list[template.Template]) -> None:
    made = template.template_for({**os.environ, "PYTHONPATH": ROOT})
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:  # it lives until the pipe is closed
        with suppress(BaseException):
            os.close(writes)
            template._end_all()
            os.read(reads, 1)
        os._exit(0)
    assert not made.has_ended()
    made._requests.close()  # as the end of this process would

    assert made._process.wait(timeout=60) == 0
    os.close(writes)
    os.close(reads)
    os.waitpid(pid, 0)


def test_a_template_ends_with_its_process(tmp_path: Path) -> None:
    """Whether that ends in peace or is killed; and although it is still importing."""
    code = (
        "import os, sys; from lrtool.sweep.executors.template import template_for\n"
        "print(template_for(os.environ)._process.pid, flush=True)\n"
        "if sys.argv[1] == 'killed': os.kill(os.getpid(), 9)"
    )
    for how in ("peace", "killed"):
        ended = subprocess.run(
            [sys.executable, "-c", code, how], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ROOT}
        )
        assert is_gone(int(ended.stdout), within_s=60), how


def test_of_a_process_with_a_thousand_open_files_trials_are_forked_too(own_templates: list[template.Template]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= MANY_DESCRIPTORS:
        pytest.skip("so many files may not be opened here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY_DESCRIPTORS + 1), hard))
    reads, writes = os.pipe()
    os.dup2(reads, MANY_DESCRIPTORS)
    os.close(reads)
    forked = Forked(template.template_for(os.environ), MANY_DESCRIPTORS)
    os.write(writes, b"5\n0\n")
    os.close(writes)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (forked.poll(), forked.pid) == (0, 5)
