"""The end of a process without a last garbage collection: what the user's code has written is there all the same."""

import os
import subprocess
import sys
from pathlib import Path

import lrtool as package
from tests import WORKLOADS

FILE = WORKLOADS / "keeps_a_file_open.py"


def written_after(folder: Path, *arguments: str) -> str:
    """What is in the file once a command line has ended in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "lrtool", *arguments, "--param", f"path={folder / 'notes'}", "--out", str(folder)],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])},
    )
    return (folder / "notes").read_text()


def test_a_file_that_a_measurement_left_open_is_written(tmp_path: Path) -> None:
    assert written_after(tmp_path, "range-test", str(FILE), "--num-steps", "20") == "built"


def test_a_file_that_a_trial_left_open_is_written(tmp_path: Path) -> None:
    assert written_after(tmp_path, "mem-sweep", str(FILE), "--step-sizes", "3", "--recorder", "cpu") == "built"
