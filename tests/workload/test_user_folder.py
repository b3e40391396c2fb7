"""Files beside the user's that have the names of modules: each import finds what its author meant."""

import builtins
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from lrtool.workload import user_folder
from lrtool.workload.target import load
from tests import ROOT

SPOILS = "import pathlib\npathlib.Path('executed').write_text(__name__)\nraise RuntimeError('this is no library')\n"
NAMES = ("statistics", "html", "profile", "types", "random", "json", "fractions", "pandas", "sympy", "difflib", "uuid")
MODEL = """
import torch
from torch import nn
def build(batch_size: int = 4):
    model = nn.Linear(2, 1)
    data = [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(50)]
    return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "train_loader": data,
            "loss": lambda model, batch: (model(batch[0]) - batch[1]).square().mean()}
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    imports, path = builtins.__import__, list(sys.path)
    yield
    builtins.__import__, sys.path[:] = imports, path
    user_folder._VIEWS.clear()


def loaded(folder: Path, text: str, **files: str) -> object:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    (folder / f"model_{folder.name}.py").write_text(text)
    return load(str(folder / f"model_{folder.name}.py")).function()


def test_the_users_import_finds_the_users_file_and_a_librarys_its_own(tmp_path: Path) -> None:
    text = "import statistics\nfrom html import escape\ndef build(): return statistics.mean, escape\n"
    found = loaded(tmp_path / "one", text, statistics="mean = 'mine'", html="escape = 'mine too'")

    assert found == ("mine", "mine too")
    import html
    import statistics

    assert statistics.mean([1, 3]) == 2
    assert html.escape("<") == "&lt;"


def test_a_library_that_the_users_file_imports_finds_its_own_too(tmp_path: Path) -> None:
    text = "import fractions\ndef build(): return fractions.value\n"
    imports = "import sys\nsys.modules.pop('statistics', None)\nimport statistics\nvalue = statistics.mean([1, 3])\n"
    found = loaded(tmp_path / "two", text, fractions=imports, numbers=SPOILS)

    assert found == 2
    assert not Path("executed").exists()


def test_an_import_at_a_later_time_finds_the_same(tmp_path: Path) -> None:
    text = "def build():\n    import statistics\n    return statistics\n"
    found = loaded(tmp_path / "three", text, statistics="mean = 'mine'")
    again = load(str(tmp_path / "three" / "model_three.py")).function()

    assert found is again
    assert sys.modules["statistics"] is not found


def test_a_file_that_is_itself_called_like_a_module_can_be_the_target(tmp_path: Path) -> None:
    name = next(each for each in ("sched", "wave", "this", "profile") if each not in sys.modules)
    (tmp_path / f"{name}.py").write_text("def build(): return 'mine'\n")

    assert load(str(tmp_path / f"{name}.py")).function() == "mine"
    assert not hasattr(import_module(name), "build")


@pytest.mark.parametrize(
    "command",
    [
        ["range-test", "model.py", "--num-steps", "20", "--device", "cpu"],
        ["mem-sweep", "model.py", "--step-sizes", "3", "--recorder", "predicted"],
        ["diagnose", "model.py", "--steps", "3", "--recorder", "predicted"],
        ["report", "last", "--html"],
    ],
    ids=lambda command: command[0],
)
def test_no_command_executes_a_file_of_the_user_that_the_user_does_not_import(command: list[str]) -> None:
    Path("model.py").write_text(MODEL)
    for name in NAMES:
        Path(f"{name}.py").write_text(SPOILS)
    entry = "import sys; sys.path.pop(0); from lrtool.entry import run; run()"  # as the console script begins
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if command[0] == "report":
        measure = [sys.executable, "-c", entry, "range-test", "model.py", "--num-steps", "20", "--device", "cpu"]
        subprocess.run(measure, env=environment, check=True, capture_output=True, timeout=120)
    ended = subprocess.run(
        [sys.executable, "-c", entry, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert not Path("executed").exists(), Path("executed").read_text()
