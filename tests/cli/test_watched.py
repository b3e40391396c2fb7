"""A range test that something ends without a word: said, with a code of its own, and the points so far kept."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from lrtool.cli.points import Points
from lrtool.cli.watched import Board
from tests import WORKLOADS
from tests.conftest import Lrtool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody watches")
RUN_DIR = Path("runs/0001-range-test")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def begin(how: str, *arguments: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    """The console script in a process of its own; the tenth step ends it as `how` says."""
    target = [str(WORKLOADS / "ends_process.py"), "--param", f"how={how}", "--num-steps", "40", *arguments]
    return subprocess.Popen(
        [sys.executable, "-m", "lrtool", "range-test", *target],
        stdout=subprocess.PIPE,
        stderr=Path("err").open("w"),
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )


def end(process: "subprocess.Popen[str]") -> Ended:
    out, _ = process.communicate(timeout=120)
    return Ended(process.returncode, out, Path("err").read_text())


def at_tenth_step(process: "subprocess.Popen[str]") -> None:
    while "there" not in Path("err").read_text():
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("how", "message", "hint"),
    [
        ("exit", "the user's code ended the process in step 10, with exit code 0", "os._exit()"),
        ("segfault", "ended by SIGSEGV, a segmentation fault, in step 10", "faulthandler"),
        ("kill", "ended by SIGKILL, a kill, in step 10", "memory runs out"),
    ],
)
def test_what_ended_the_process_is_said_and_the_points_are_kept(how: str, message: str, hint: str) -> None:
    ended = end(begin(how, "--json"))
    error, advice = ended.err.splitlines()[-2:]
    points = [json.loads(line) for line in (RUN_DIR / "points.jsonl").read_text().splitlines()]

    assert (ended.code, ended.out) == (3, "")
    assert error.startswith("error: ")
    assert message in error
    assert hint in advice
    assert f"9 points are kept in {RUN_DIR}/points.jsonl" in advice
    assert [(point["ramp"], point["step"]) for point in points] == [(1, step) for step in range(1, 10)]
    assert points[0]["lr"] == pytest.approx(1e-7)
    assert all(point["loss"] > 0 for point in points)


def test_before_the_first_step_nothing_is_left_behind() -> None:
    ended = end(begin("exit", "--param", "at=0"))

    assert ended.code == 3
    assert "before its first step" in ended.err
    assert "nothing had been measured yet" in ended.err
    assert not any(Path("runs").iterdir())


def test_a_copy_that_the_users_code_forks_may_end_as_it_likes() -> None:
    ended = end(begin("fork", "--json"))

    assert ended.code == 0
    assert json.loads(ended.out)["command"] == "range-test"
    assert not (RUN_DIR / "points.jsonl").exists()


@pytest.mark.parametrize("is_sent_to_all", [False, True])
def test_ctrl_c_stores_the_curve_as_ever(is_sent_to_all: bool) -> None:
    process = begin("wait", "--json")
    at_tenth_step(process)
    (os.killpg if is_sent_to_all else os.kill)(process.pid, signal.SIGINT)
    ended = end(process)

    assert ended.code == 130
    assert ended.err.splitlines()[-2] == "error: interrupted after 9 steps"
    assert json.loads(ended.out)["stopped"] == "interrupted"
    assert (RUN_DIR / "run.json").exists()
    assert not (RUN_DIR / "points.jsonl").exists()


def test_a_signal_from_outside_ends_both_and_is_no_failure_of_the_users_code() -> None:
    process = begin("wait")
    at_tenth_step(process)
    process.send_signal(signal.SIGTERM)
    ended = end(process)

    assert ended.code == -signal.SIGTERM
    assert "error:" not in ended.err
    assert f"ended by SIGTERM in step 10; 9 points are kept in {RUN_DIR}/points.jsonl" in ended.err


def test_whoever_kills_the_parent_ends_the_child() -> None:
    process = begin("wait")
    at_tenth_step(process)
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
    process.kill()
    process.communicate(timeout=20)
    gone = Path(f"/proc/{child}/stat")
    deadline = time.monotonic() + 20
    while gone.exists() and gone.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_caller_of_main_is_its_own_process(lrtool: Lrtool) -> None:
    outcome = lrtool("range-test", WORKLOADS / "ends_process.py", "--num-steps", "40")

    assert outcome.code == 0
    assert not list(Path("runs").rglob("points.jsonl"))


def test_the_board_holds_what_was_told() -> None:
    board = Board()
    board.tell_folder(Path("a b/ü"))
    board.tell(ramp=2, num_begun=5, num_done=4)
    told = board.read()

    assert (told.exit_code, told.run_dir, told.place) == (None, "a b/ü", "in step 5 of ramp 2")
    board.tell(num_done=5, exit_code=0)
    assert (board.read().exit_code, board.read().place) == (0, "after step 5 of ramp 2")


def test_points_on_a_gpu_wait_until_there_are_many() -> None:
    import torch

    board = Board()
    points = Points(Path(), tell=board.tell)
    points.ramp_begins()
    for step in range(60):
        points.step_begins()
        points.step_ended(0.1, _OnGpu(float(step)))  # type: ignore[arg-type]
    assert board.read().num_points == 50

    points.step_begins()
    points.step_ended(torch.tensor(0.5), torch.tensor(float("nan")))
    rows = [json.loads(line) for line in Path("points.jsonl").read_text().splitlines()]
    assert len(rows) == 61
    assert rows[-1] == {"ramp": 1, "step": 61, "lr": 0.5, "loss": None}

    points.discard()
    assert not Path("points.jsonl").exists()
    assert board.read().num_points == 0


class _OnGpu:
    """A loss that stands on a GPU, as far as can be seen without reading it."""

    def __init__(self, value: float) -> None:
        self.device = SimpleNamespace(type="cuda")
        self._value = value

    def detach(self) -> "_OnGpu":
        return self

    def __float__(self) -> float:
        return self._value


def test_a_defect_after_the_measurement_keeps_the_points(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch) -> None:
    def conclude(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(sys.modules["lrtool.cli.watched"], "_board", Board())
    monkeypatch.setattr("lrtool.lr.range_test.conclude", conclude)
    outcome = lrtool("range-test", WORKLOADS / "good.py", "--num-steps", "20")

    assert outcome.code == 70
    points = (RUN_DIR / "points.jsonl").read_text().splitlines()
    assert sum('"ramp": 1,' in point for point in points) == 20
    assert "the points are kept in" in outcome.err
