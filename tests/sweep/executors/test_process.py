"""The end of a process without a last garbage collection: what the user's code has written is there all the same."""

import os
import subprocess
import sys
from pathlib import Path

import lrtool as package
from tests import WORKLOADS
from tests.conftest import Lrtool

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
