"""The ends of a trial's process: with the sweep, and without a last garbage collection, but with all that was written."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import lrtool as package
from lrtool.sweep.executors.process import ending_with
from tests import WORKLOADS
from tests.conftest import Lrtool
from tests.sweep.running import is_gone

FILE = WORKLOADS / "keeps_a_file_open.py"


def test_a_file_that_a_measurement_left_open_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lrtool", "range-test", str(FILE), "--num-steps", "20", "--param", "path=notes"]
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])},
    )

    assert (tmp_path / "notes").read_text() == "built"


def test_a_file_that_a_trial_left_open_is_written(tmp_path: Path, lrtool: Lrtool) -> None:
    outcome = lrtool(
        "mem-sweep", FILE, "--step-sizes", "3", "--recorder", "cpu", "--param", f"path={tmp_path / 'notes'}"
    )

    assert outcome.code == 0
    assert (tmp_path / "notes").read_text() == "built"


@pytest.mark.parametrize("may_be_forked", [True, False], ids=["template", "spawned"])
def test_what_still_imports_ends_with_the_sweep(tmp_path: Path, *, may_be_forked: bool) -> None:
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(600)")
    (tmp_path / "sweep.py").write_text(
        "from pathlib import Path\n"
        "from lrtool.sweep.executors.executor import Job\n"
        "from lrtool.sweep.executors.subprocess import SubprocessExecutor\n"
        f"job = Job(folder=Path(), module='lrtool.sweep.trial', may_be_forked={may_be_forked})\n"
        "next(SubprocessExecutor().run([job]))\n"
    )
    root = str(Path(package.__file__).parents[1])
    sweep = subprocess.Popen(
        [sys.executable, "sweep.py"], env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), root])}
    )
    children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children")
    while not children.read_text():
        time.sleep(0.05)
    child = int(children.read_text())
    while b"lrtool" not in Path(f"/proc/{child}/cmdline").read_bytes():  # until then it is a copy of the sweep
        time.sleep(0.05)
    sweep.kill()
    sweep.wait()
    try:
        assert is_gone(child, within_s=20)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_a_process_whose_imports_fail_is_not_kept_by_its_lifeline() -> None:
    one, other = socket.socketpair()
    before = threading.active_count()
    with one, other, pytest.raises(ImportError), ending_with(one.fileno()):
        raise ImportError("torch is broken")
    assert threading.active_count() == before
