"""How far public model libraries are predicted: a table of small models, each traced on fake CUDA and really run on the CPU.

    python -m benchmarks.model_zoo [--only TEXT] [--store FILE.jsonl] [--limit-s 300] [--write]

torchvision, timm, transformers, diffusers, peft, trl, PyG and sentence-transformers are used where they are installed; what
is not is told as skipped. Models are made from configuration: nothing is downloaded. Each has a process of its own with a
time limit, in which three steps are traced three times: predicted, predicted without what kernels are known to allocate for
themselves, and of a real run on the CPU. The last two peaks are compared, both replayed through the same allocator: of the
most that was allocated, the share by which the prediction is higher. With --store, results are kept in FILE as they come, and
what has one is not traced again.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.liger_prediction import RESULTS, write_section
from benchmarks.stored_results import add_result, read_results
from benchmarks.torchvision_models import make_importable
from benchmarks.zoo import language, perception, tuning, vision
from benchmarks.zoo.entry import Entry
from benchmarks.zoo.table import Result, report, result_of
from lrtool.memory.replay.replay import replay
from lrtool.memory.tracer.tracer import Kind, TraceSettings, trace
from lrtool.workload.target import from_callable

SECTION = "## A zoo of models"
STEPS = 3
STAGES: tuple[tuple[str, Kind, bool], ...] = (
    ("predicted", "predicted", True),
    ("bare", "predicted", False),
    ("cpu", "cpu", False),
)
"""Name, kind of trace, and whether workspaces are added."""
ROOT = Path(__file__).parents[1]


def entries() -> Iterator[Entry]:
    return chain(vision.entries(), language.entries(), perception.entries(), tuning.entries())


def missing_packages(entry: Entry) -> list[str]:
    return [package for package in entry.packages if importlib.util.find_spec(package) is None]


def trace_in_here(name: str) -> None:
    """Trace one model, and print a line of JSON after each stage; the caller reads as far as it came."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    warnings.simplefilter("ignore")
    make_importable()
    entry = next(each for each in entries() if each.name == name)
    factory = from_callable(entry.build, params={}, name=name)
    for stage, kind, with_workspaces in STAGES:
        begin = time.perf_counter()
        settings = TraceSettings(num_steps=STEPS, kind=kind, with_workspaces=with_workspaces, until_steady=False)
        try:
            traced = trace(factory, settings)
            peaks = replay(traced.trace).peaks
        except Exception as error:
            _tell({"stage": stage, **_failure(error)})
            continue
        seconds = round(time.perf_counter() - begin, 2)
        _tell({"stage": stage, "bytes": peaks.allocated_bytes, "reserved": peaks.reserved_bytes, "seconds": seconds})


def _tell(line: dict[str, Any]) -> None:
    print(f"\n{json.dumps(line)}", flush=True)


def _failure(error: BaseException) -> dict[str, str]:
    """The first cause, and the innermost line that is neither torch's nor lrtool's."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    ours = (f"{os.sep}torch{os.sep}", f"{os.sep}lrtool{os.sep}")
    frames = traceback.extract_tb(error.__traceback__)
    places = [each for each in frames if not any(part in each.filename for part in ours)]
    place = f"{'/'.join(Path(places[-1].filename).parts[-3:])}:{places[-1].lineno}" if places else ""
    text = (str(error).strip().splitlines() or [""])[0]
    return {"error": f"{type(error).__name__}: {text}"[:300], "place": place}


def measured(entry: Entry, limit_s: float) -> dict[str, Any]:
    """What a process of its own says of a model, as it is stored."""
    absent = missing_packages(entry)
    if absent:
        return {"key": entry.name, "skipped": f"needs {', '.join(absent)}"}
    command = [sys.executable, "-m", "benchmarks.model_zoo", "--one", entry.name]
    begin = time.perf_counter()
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False)
        printed, ended = run.stdout, None if run.returncode == 0 else f"ended with {run.returncode}"
    except subprocess.TimeoutExpired as expired:
        said = expired.stdout or b""
        printed, ended = said.decode() if isinstance(said, bytes) else said, f"took more than {limit_s:.0f} s"
    result: dict[str, Any] = {"key": entry.name, "seconds": round(time.perf_counter() - begin, 1), "ended": ended}
    for line in printed.splitlines():
        if line.startswith('{"stage"'):
            stage = json.loads(line)
            result[stage.pop("stage")] = stage
    return result


def _results(only: str, store: Path | None, limit_s: float) -> list[Result]:
    known, results = read_results(store), []
    for entry in entries():
        if only not in entry.name:
            continue
        kept = known.get(entry.name)
        if kept is None:
            kept = measured(entry, limit_s)
            add_result(store, kept)
        results.append(result_of(kept))
        print(f"{results[-1].name:50} {results[-1].outcome}", file=sys.stderr, flush=True)
    return results


def section(results: Sequence[Result]) -> str:
    """The section of RESULTS.md."""
    when = time.strftime("%Y-%m-%d", time.gmtime())
    head = f"`python -m benchmarks.model_zoo --write`, torch {torch.__version__}, {when}, one thread, no GPU used."
    return f"{SECTION}\n\n{head}\n\n{report(results)}"


def main() -> int:
    """Trace the models, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--store", type=Path, help="a JSONL file in which results are kept as they come")
    parser.add_argument("--limit-s", type=float, default=300.0, help="seconds that a model may take")
    parser.add_argument("--write", action="store_true", help=f"write the table into {RESULTS.name}")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        trace_in_here(options.one)
        return 0
    results = _results(options.only, options.store, options.limit_s)
    print(section(results))
    if options.write:
        write_section(RESULTS, section(results), heading=SECTION)
    return 0


if __name__ == "__main__":
    sys.exit(main())
