"""The shape of the code: which parts may import which, and what must not be imported at all."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lrtool

ROOT = Path(lrtool.__file__).parent
GROUND = {"errors", "units", "small_file", "option", "config", "settings_file", "examples"}
ALLOWED = {
    "errors": set(),
    "units": {"errors"},
    "small_file": {"errors"},
    "option": set(),
    "config": {"errors", "units", "option", "gate.limits", "results"},
    "settings_file": {"errors", "units", "small_file", "config", "results"},
    "examples": {"examples"},
    "results": {"errors", "units", "small_file", "option"},
    "workload": GROUND,
    "workload.distributed": GROUND | {"workload", "results"},
    "lr": GROUND | {"lr.curve", "lr.ramp", "workload", "workload.distributed", "results"},
    "lr.ramp": GROUND | {"lr.curve", "results"},
    "lr.curve": GROUND | {"results"},
    "memory": set(),
    "memory.metrics": {"memory.growth", "results"},
    "memory.growth": {"results"},
    "memory.gpus": GROUND,
    "memory.context": GROUND | {"memory.gpus"},
    "memory.trace": GROUND,
    "memory.allocator": GROUND | {"memory.trace", "memory.metrics"},
    "memory.snapshot": GROUND | {"memory.trace", "memory.allocator"},
    "memory.replay": GROUND | {"memory.allocator", "memory.trace", "memory.metrics", "memory.gpus", "results"},
    "memory.attribution": GROUND | {"memory.replay", "memory.allocator", "memory.trace", "memory.gpus", "results"},
    "memory.environment": GROUND | {"memory.allocator", "results"},
    "tracing": set(),
    "tracing.patching": set(),
    "tracing.workspaces": GROUND | {"memory.gpus"},
    "tracing.fake_values": GROUND | {"tracing.patching", "results"},
    "tracing.fake_kernels": GROUND | {"tracing.fake_values", "tracing.patching", "tracing.workspaces", "results"},
    "tracing.fake_cuda": GROUND | {"tracing.fake_kernels", "tracing.fake_values", "tracing.patching", "results"},
    "tracing.tracer": GROUND
    | {"tracing.fake_cuda", "tracing.fake_kernels", "tracing.fake_values", "tracing.patching", "tracing.workspaces"}
    | {"memory.trace", "memory.allocator", "memory.growth", "workload", "workload.distributed", "results"},
    "memory.recorders": GROUND
    | {"tracing.tracer", "memory.attribution", "memory.replay", "memory.allocator", "memory.trace", "memory.gpus"}
    | {"tracing.fake_cuda", "memory.metrics", "memory.context", "workload", "results"},
    "sweep.executors": GROUND | {"memory.allocator", "tracing.tracer", "workload", "workload.distributed", "results"},
    "sweep": GROUND
    | {"sweep.executors", "memory.recorders", "memory.growth", "memory.metrics", "tracing.tracer", "tracing.workspaces"}
    | {"lr", "workload", "results"},
    "diagnosis.run_figures": GROUND | {"memory.attribution", "memory.growth", "results"},
    "diagnosis.causes": GROUND | {"diagnosis.run_figures", "memory.attribution", "memory.growth", "results"},
    "diagnosis.cures": GROUND | {"memory.allocator", "memory.trace", "workload"},
    "diagnosis.cure_trials": GROUND
    | {"diagnosis.cures", "sweep.executors", "memory.recorders", "tracing.tracer", "memory.replay", "memory.allocator"}
    | {"memory.trace", "workload", "results"},
    "diagnosis": GROUND
    | {"diagnosis.run_figures", "diagnosis.causes", "sweep", "sweep.executors", "memory.recorders", "tracing.tracer"}
    | {"memory.snapshot", "memory.attribution", "memory.replay", "memory.allocator", "memory.trace", "memory.gpus"}
    | {"memory.environment", "memory.growth", "memory.metrics", "workload", "results"},
    "gate.limits": {"errors", "units", "results"},
    "gate": GROUND | {"gate.limits", "results"},
    "report": GROUND | {"report", "gate", "gate.limits", "results"},
    "cli": GROUND
    | {"cli", "report", "gate", "gate.limits", "diagnosis", "diagnosis.cures", "diagnosis.cure_trials"}
    | {"sweep", "sweep.executors", "lr", "lr.ramp", "lr.curve", "memory.gpus", "memory.allocator", "memory.environment"}
    | {"memory.recorders", "memory.replay", "memory.snapshot", "memory.trace", "tracing.tracer"}
    | {"workload", "workload.distributed", "results"},
    "pytest_plugin": GROUND
    | {"gate", "gate.limits", "memory.recorders", "memory.growth", "report", "workload", "results"},
    "entry": {"cli"},
    "__main__": {"entry"},
    "__init__": {"errors", "lr", "results", "workload"},
}
"""What each part may import, itself aside. A part is a folder or a module; the longest name that fits counts."""
PURE = [
    "errors.py", "units.py", "small_file.py", "option.py", "config.py", "settings_file.py",
    "workload/distributed/launch.py", "lr/ramp.py", "lr/cyclic.py", "lr/curve",
    "memory/metrics.py", "memory/growth.py", "memory/gpus.py", "memory/context.py", "memory/environment/known_issues.py",
    "memory/allocator/environment.py", "diagnosis/run_figures.py", "diagnosis/rules.py", "diagnosis/causes",
    "diagnosis/cure_trials/batch_search.py", "diagnosis/cure_trials/effects.py", "gate", "results",
]  # fmt: skip
"""Modules, and folders with all their modules."""
MODULES = sorted(ROOT.rglob("*.py"))


def part_of(module: str) -> str:
    """The part of the design a module belongs to: "memory.trace" for lrtool.memory.trace.jsonl, "errors" for lrtool.errors."""
    names = module.split(".")[1:]
    fitting = (".".join(names[:length]) for length in range(len(names), 0, -1))
    return next((name for name in fitting if name in ALLOWED), ".".join(names[:2]) or "__init__")


def modules_in(name: str) -> list[Path]:
    path = ROOT / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


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
    part = part_of(".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"))
    ours = {part_of(name) for name in imports_of(path) if name.split(".")[0] == "lrtool"}

    assert ours - {"__init__", part} <= ALLOWED[part]


def test_no_two_parts_import_each_other() -> None:
    graph = {part: {each for each in allowed if each != part} for part, allowed in ALLOWED.items()}

    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    "path", [path for name in PURE for path in modules_in(name)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_pure_parts_know_neither_torch_nor_the_terminal(path: Path) -> None:
    roots = {module.split(".")[0] for module in imports_of(path)}

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
