"""The folder that every attempt finds itself in: runs of each command, traces, baselines, settings, and small user files."""

import gzip
import json
import os
import pickle
import shutil
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path

from lrtool.cli import main as lrtool
from lrtool.sweep.plan import Plan, PlannedTrial, Setup
from lrtool.sweep.reports import SWEEP_TRIAL, TrialFile, TrialReport
from tests import DATA, DOCS
from tests.memory.odd_snapshots import small_snapshot
from tests.report.made_runs import MADE, store
from tests.sweep.made_sweeps import flat

RUNS = {command: f"runs/{number:04d}-{command}" for number, command in enumerate(sorted(MADE), 1)}
"""The stored run of each command."""
SWEEP = RUNS["mem-sweep"]
FAILING = "broken.py"
"""What no command gets further with than its import."""
TINY = "good.py"
"""What trains, in no time."""
PIPES = ("pipe", "pi.pe.py")
"""Pipes that nobody writes into; no trace is read from one, as that may wait."""

_USER_FILES = {
    FAILING: "raise ValueError('broken on purpose')\n",
    "midway.py": """
from good import build as good

def build(batch_size: int = 4, seed: int = 0):
    setup, seen = good(batch_size), []
    inner = setup["loss"]
    def loss(model, batch):
        seen.append(0)
        if len(seen) > 14:
            raise RuntimeError("midway\\n\\x1b[31m::error::on purpose")
        return inner(model, batch)
    return {**setup, "loss": loss}
""",
    TINY: """
import torch
from torch import nn

def build(batch_size: int = 4, width: int = 2, name: str = "", scale: float = 1.0, deep: bool = False):
    model = nn.Sequential(nn.Linear(4, width), nn.Linear(width, 1))
    data = [(torch.ones(batch_size, 4), torch.ones(batch_size, 1)) for _ in range(4)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "optimizer": optimizer, "train_loader": data, "loss": loss}

def loss(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])
""",
    "nothing.py": "x = 1\n",
    "syntax.py": "def build(:\n",
    "leaves.py": "import sys\n\ndef build():\n    sys.exit('no\\n\\x1b[31m')\n",
    "number.py": "def build():\n    return 7\n",
}
_OPS = (
    {"op": "settings", "conf": "max_split_size_mb:64"}, {"op": "alloc", "id": "w", "size": 4194304, "phase": "build"},
    {"op": "set_memory_fraction", "fraction": 0.9}, {"op": "set_limit", "bytes": 1073741824}, {"op": "reset_peak"},
    {"op": "repeat", "times": 5}, {"op": "alloc", "id": 7, "size": 1000, "stream": 7, "source": "model.py:41"},
    {"op": "record_stream", "id": 7, "stream": 0}, {"op": "free", "id": 7}, {"op": "advance"}, {"op": "end_repeat"},
    {"op": "step"}, {"op": "alloc", "id": None, "size": 30000000, "category": "activation", "operator": "addmm"},
    {"op": "empty_cache"}, {"op": "reset_accumulated"}, {"op": "free", "id": "w"}, {"op": "advance", "stream": 7},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Template:
    """A folder to copy, and the names of the files in it."""

    path: Path
    files: tuple[Path, ...]

    def copy_to(self, folder: Path) -> None:
        """A fresh copy in place of whatever is there, with pipes in it."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.path, folder, symlinks=True)
        for name in PIPES:
            os.mkfifo(folder / name)


def make_template(path: Path) -> Template:
    """Write every kind of file that lrtool reads into the new folder `path`."""
    path.mkdir(parents=True)
    with chdir(path):
        for name, text in _USER_FILES.items():
            Path(name).write_text(text)
        _write_runs()
        _write_traces()
        _write_settings()
        assert lrtool(["baseline", SWEEP, "-o", "baseline.json", "-q"]) == 0
        assert lrtool(["check", SWEEP, "--max", "growth=1", "--format", "junit", "-o", "junit.xml", "-q"]) in (0, 1)
    return Template(path, tuple(sorted(each.relative_to(path) for each in path.rglob("*") if each.is_file())))


def _write_runs() -> None:
    for command, run_dir in RUNS.items():
        result, series = flat(capacity=2**30, sizes=(4, 6)) if command == "mem-sweep" else MADE[command]()
        store(command, result, series, Path(run_dir))
    _write_plan(Path(SWEEP))


def _write_plan(run_dir: Path) -> None:
    """What a finished sweep leaves beside its result, so that it can be resumed."""
    setup = Setup(
        target=FAILING, recorder="predicted", device="cpu", gpu="h100", capacity_bytes=None, base_lr=None, max_lr=None,
        history=(),
    )  # fmt: skip
    trials = flat(sizes=(4, 6))[0].trials
    planned = tuple(
        PlannedTrial(number=each.number, position=each.position, repeat=0, seed=0, num_steps=each.num_steps,
                     condition=each.condition)
        for each in trials
    )  # fmt: skip
    plan = Plan(setup=setup, recorder_reason="", card=None, lr_source="", trials=planned, settings={})
    (run_dir / "plan.json").write_text(json.dumps(asdict(plan)))
    for given, made in zip(planned, trials, strict=True):
        folder = run_dir / f"trials/{given.number:03d}"
        (folder / "trial.json").write_text(json.dumps(asdict(TrialFile(setup=setup, trial=given))))
        (folder / "result.json").write_text(json.dumps(SWEEP_TRIAL.plain(TrialReport(trial=made))))


def _write_traces() -> None:
    Path("ops.jsonl").write_text("".join(f"{json.dumps(op)}\n" for op in _OPS))
    Path("ops.jsonl.gz").write_bytes(gzip.compress(Path("ops.jsonl").read_bytes()))
    shutil.copy(DOCS / "split.jsonl", "split.jsonl")
    for protocol in (2, 4):
        Path(f"snapshot{protocol}.pickle").write_bytes(pickle.dumps(small_snapshot(), protocol=protocol))
    shutil.copy(DATA / "snapshots" / "begun_empty.pickle.gz", "snapshot.pickle.gz")


def _write_settings() -> None:
    text = f'target = "{FAILING}"\n'
    Path("lrtool.toml").write_text(text)
    Path("other.toml").write_text(f'{text}out = "runs"\n[range-test]\nnum-steps = 12\n[budget]\nmax = {{growth = 0}}\n')
    Path("pyproject.toml").write_text(f"[tool.lrtool]\n{text}[tool.lrtool.budget.min]\nmax_lr = 0.01\n")
