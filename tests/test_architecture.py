"""The shape of the code: which parts may import which, and what must not be imported at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lrtool

ROOT = Path(lrtool.__file__).parent
FOUNDATION = {"errors", "units", "checked_json", "quick_exit", "limits", "config", "examples"}
MEASURING = {"results", "workload", "target", "training", "batches", "devices", "user_code"}
ALLOWED = {
    "errors": set(),
    "units": {"errors"},
    "checked_json": set(),
    "quick_exit": set(),
    "limits": {"errors", "units"},
    "config": {"errors", "units", "limits"},
    "examples": {"examples"},
    "results": FOUNDATION | {"results"},
    "store": FOUNDATION | {"results"},
    "user_code": FOUNDATION,
    "workload": FOUNDATION | {"results"},
    "batches": FOUNDATION | {"workload", "user_code"},
    "devices": FOUNDATION | {"workload"},
    "adapters": FOUNDATION | {"workload", "batches", "user_code"},
    "target": FOUNDATION | {"adapters", "workload", "user_code"},
    "training": FOUNDATION | {"workload", "batches", "user_code"},
    "live_objects": FOUNDATION | {"workload"},
    "trial_store": FOUNDATION | {"results", "store"},
    "series": FOUNDATION | {"results", "store"},
    "distributed": FOUNDATION | MEASURING | {"distributed"},
    "lr": FOUNDATION | MEASURING | {"lr", "live_objects", "distributed"},
    "memory": FOUNDATION | MEASURING | {"memory", "distributed"},
    "sweep": FOUNDATION
    | MEASURING
    | {"sweep", "lr", "memory", "distributed", "store", "series", "trial_store", "adapters"},
    "gate": FOUNDATION | {"gate", "results", "store", "series"},
    "report": FOUNDATION | {"report", "gate", "results", "store", "series", "trial_store"},
    "cli": FOUNDATION
    | {"cli", "distributed", "report", "gate", "sweep", "lr", "memory", "target", "workload", "store", "results"},
    "step_peak": FOUNDATION | MEASURING | {"gate", "memory", "live_objects"},
    "pytest_plugin": FOUNDATION | {"step_peak", "report", "results"},
    "__main__": {"cli"},
    "__init__": {"errors", "lr", "results", "workload"},
}
PURE = [
    "lr/ramp.py",
    "lr/suggest.py",
    "lr/cyclic.py",
    "lr/rules.py",
    "results/cures.py",
    "results/doctor.py",
    "results/range_test.py",
    "results/replay.py",
    "results/mem_sweep.py",
    "results/ranks.py",
    "distributed/launch.py",
    "results/runs.py",
    "results/gate.py",
    "results/compare.py",
    "gate/summary.py",
    "gate/alignment.py",
    "gate/grown.py",
    "gate/judge.py",
    "gate/comparison.py",
    "limits.py",
    "units.py",
    "checked_json.py",
    "quick_exit.py",
    "config.py",
    "errors.py",
    "memory/torch_traps.py",
    "memory/settings_in_force.py",
    "sweep/batch_search.py",
    "sweep/cure_effects.py",
]
MODULES = sorted(ROOT.rglob("*.py"))


def part_of(module: str) -> str:
    """The part of the design a module belongs to: "lr" for lrtool.lr.ramp, "errors" for lrtool.errors."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def imports_of(path: Path) -> set[str]:
    """Every module that `path` imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parent = node.module
            is_package = (ROOT.parent / parent.replace(".", "/")).is_dir()
            found |= {f"{parent}.{a.name}" for a in node.names} if is_package else {parent}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT)
    part = relative.parts[0].removesuffix(".py")
    ours = {part_of(name) for name in imports_of(path) if name.split(".")[0] == "lrtool"}

    assert ours - {"__init__"} <= ALLOWED[part]


@pytest.mark.parametrize("name", PURE)
def test_the_pure_parts_know_neither_torch_nor_the_terminal(name: str) -> None:
    roots = {module.split(".")[0] for module in imports_of(ROOT / name)}

    assert not roots & {"torch", "rich", "typer", "matplotlib", "pandas"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_and_the_reports_know_how_things_look(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0]
    roots = {module.split(".")[0] for module in imports_of(path)}

    assert part in ("cli", "report") or not roots & {"rich", "matplotlib", "typer"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_prints_behind_the_consoles_back(path: Path) -> None:
    calls = [node.func.id for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]  # fmt: skip

    assert "print" not in calls


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_with_code_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text())

    assert not tree.body or ast.get_docstring(tree)


def loaded_after(arguments: list[str], folder: Path) -> set[str]:
    """The top-level packages in memory after a command line, in a process of its own."""
    code = (
        "import sys; from lrtool.cli import main\n"
        f"code = main({arguments!r})\n"
        "print('loaded:', *{m.partition('.')[0] for m in sys.modules}, file=sys.stderr); sys.exit(code)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    return set(run.stderr.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["range-test", "--help"], ["mem-sweep", "--help"], ["diagnose", "--help"], ["--version"], []],
)
def test_help_is_free_of_torch_and_of_everything_slow(arguments: list[str], tmp_path: Path) -> None:
    assert not loaded_after(arguments, tmp_path) & {"torch", "pandas", "matplotlib", "numpy"}


def test_report_needs_no_torch(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "lrtool", "range-test", "--num-steps", "20"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )

    assert "torch" not in loaded_after(["report", "last"], tmp_path)


def test_public_names() -> None:
    assert set(lrtool.__all__) == {
        "LrtoolError", "RangeTest", "UnavailableError", "UsageError", "Workload", "WorkloadError", "range_test",
    }  # fmt: skip
    assert all(getattr(lrtool, name) is not None for name in lrtool.__all__)
