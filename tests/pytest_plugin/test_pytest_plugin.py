"""`@pytest.mark.lrtool_peak`: a project's own tests fail when a training step takes more, and say what takes it."""

import ast
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lrtool import pytest_plugin
from lrtool.config import RecorderChoice
from lrtool.pytest_plugin.step_peak import StepLimits, check_steps
from tests import ROOT, WORKLOADS

HEAD = f"import sys\nsys.path.insert(0, {str(WORKLOADS)!r})\nimport pytest\nfrom functools import partial\n"
Report = dict[str, tuple[str, str]]


class Outcomes:
    """Collects how each test ended, and what it said."""

    def __init__(self) -> None:
        self.found: Report = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.found[report.head_line or ""] = (report.outcome, str(report.longrepr or ""))


def outcomes_of(text: str, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Run a test file with the plugin, and without any other, in this process."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    Path("test_theirs.py").write_text(HEAD + text)
    seen = Outcomes()
    pytest.main(
        ["test_theirs.py", "-q", "--strict-markers", "-p", "no:cacheprovider", "--rootdir", ".", "-c", "/dev/null"],
        plugins=[pytest_plugin, seen],
    )
    return seen.found


def test_a_peak_below_the_limit_passes_and_one_above_fails_with_what_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes_of(
        """
from good import build

@pytest.mark.lrtool_peak("200 MiB")
def test_fits():
    return build

@pytest.mark.lrtool_peak("200 MiB")
@pytest.mark.parametrize("width", [16, 2**20])
def test_of_parameters(width):
    return partial(build, width=width)

@pytest.mark.lrtool_peak(100)
def test_does_not_fit():
    return build

def test_unmarked():
    assert build
""",
        monkeypatch,
    )

    assert {name: outcome for name, (outcome, _) in found.items()} == {
        "test_fits": "passed", "test_of_parameters[16]": "passed", "test_of_parameters[1048576]": "failed",
        "test_does_not_fit": "failed", "test_unmarked": "passed",
    }  # fmt: skip
    said = found["test_does_not_fit"][1]
    assert said.startswith("Failed: peak_allocated is ")
    assert "above its limit of 100 B" in said
    assert "parameter" in said
    assert "lrtool/" not in said


def test_growth_is_held_too_and_named_by_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes_of(
        """
@pytest.mark.lrtool_peak(growth=0)
def test_grows():
    return "leaky"

@pytest.mark.lrtool_peak("200 MiB", growth=0)
def test_is_steady():
    from good import build
    return build
""",
        monkeypatch,
    )

    assert found["test_grows"][0] == "failed"
    assert "leaky.py:36 history.append(" in found["test_grows"][1]
    assert found["test_is_steady"][0] == "passed"


def test_what_is_wrong_is_said_without_frames_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes_of(
        """
from good import build

@pytest.mark.lrtool_peak()
def test_no_limit():
    return build

@pytest.mark.lrtool_peak("lots")
def test_no_size():
    return build

@pytest.mark.lrtool_peak("1 GiB")
def test_returns_nothing():
    build()

@pytest.mark.lrtool_peak("1 GiB")
def test_misspelt():
    return "digit"

@pytest.mark.lrtool_peak("1 GiB", recorder="cuda")
def test_needs_a_gpu():
    return build

@pytest.mark.lrtool_peak("1 GiB")
def test_raises():
    def build():
        raise KeyError("theirs")
    return build
""",
        monkeypatch,
    )

    expected = {
        "test_no_limit": "lrtool_peak needs a limit",
        "test_no_size": "'lots' is not a size in bytes",
        "test_returns_nothing": "returns its build() function, or a target; not None",
        "test_misspelt": "'digit' is neither a file, nor a module, nor a bundled workload",
        "test_raises": "theirs",
    }
    for name, words in expected.items():
        assert found[name][0] == "failed"
        assert words in found[name][1]
    import torch

    assert found["test_needs_a_gpu"][0] == ("passed" if torch.cuda.is_available() else "skipped")


def test_random_generators_are_left_as_they_were() -> None:
    import torch

    random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), float(torch.rand(()))
    random.seed(5)
    torch.manual_seed(5)
    check_steps(f"{WORKLOADS}/good.py", StepLimits(peak_bytes=1))

    assert (random.random(), float(torch.rand(()))) == expected


@pytest.mark.parametrize("recorder", ["predicted", "cpu", "auto"])
def test_every_recorder_that_needs_no_gpu(recorder: RecorderChoice) -> None:
    found = check_steps(f"{WORKLOADS}/good.py", StepLimits(peak_bytes=2**30, recorder=recorder))

    assert found.passed is True
    assert found.lines[0].measured is not None
    assert found.lines[0].measured > 8 * 16 * 4


def test_the_plugin_costs_a_project_no_import_of_torch() -> None:
    code = "import sys, lrtool.pytest_plugin; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"torch", "numpy", "matplotlib", "rich", "typer"} & set(run.stdout.split())


def test_pytest_finds_it_once_lrtool_is_installed() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module = project["entry-points"]["pytest11"]["lrtool"]

    assert module == pytest_plugin.__name__
    assert ast.get_docstring(ast.parse(Path(pytest_plugin.__file__).read_text()))
