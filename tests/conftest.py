"""Fixtures: a command line in a folder of its own, and user files that are imported afresh."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import WORKLOADS

# With a thread for every core in each of many processes, they would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from lrtool.cli import main

settings.register_profile("ci", derandomize=True)  # CI tries the same examples each time; people find new ones
if os.environ.get("CI"):
    settings.load_profile("ci")


@dataclass(frozen=True)
class Outcome:
    """What a command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        import json

        return json.loads(self.out)


Lrtool = Callable[..., Outcome]


def shrink_heap() -> None:
    """Leave the libraries, and all that earlier tests left alive, to no collection and no search for referrers."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> None:
    shrink_heap()


@pytest.fixture(autouse=True)
def clean_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts in an empty folder, without settings in the environment, and forgets the user files it imported."""
    for name in list(os.environ):
        if name.startswith("LRTOOL_") or name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    paths, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if Path(file).is_relative_to(WORKLOADS) or Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def unpainted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of a command are made but not painted, which takes most of its time, but in tests marked `painted`."""
    if request.node.get_closest_marker("painted") is None:
        monkeypatch.setattr("lrtool.report.files.figure_bytes", lambda figure, kind: b"")


@pytest.fixture
def lrtool(capfd: pytest.CaptureFixture[str]) -> Lrtool:
    """Run a command line in this process: `lrtool("range-test", "digits")`."""

    def run(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def workload_file() -> Callable[[str], Path]:
    """The path of one of the small user files in tests/workloads."""

    def path(name: str) -> Path:
        file = WORKLOADS / f"{name}.py"
        assert file.exists()
        return file

    return path
