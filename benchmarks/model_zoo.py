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
import importlib
import importlib.util
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from multiprocessing.connection import Connection
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
from lrtool.tracing.tracer.tracer import Kind, TraceSettings, trace
from lrtool.workload.target import from_callable

SECTION = "## A zoo of models"
STEPS = 3
STAGES: tuple[tuple[str, Kind, bool], ...] = (
    ("predicted", "predicted", True),
    ("bare", "predicted", False),
    ("cpu", "cpu", False),
)
"""Name, kind of trace, and whether workspaces are added."""
PRELOADED = ("torch._subclasses.fake_tensor", "torch._decomp", "torch._refs", "transformers.modeling_utils")
NOTES = """\
What differs from the CPU by design, found by comparing the requests of a step:

- Attention with dropout, or with a mask that needs gradients: torch writes it out on the CPU; on a GPU the memory-efficient
  kernel keeps no matrix of weights (GPT-2, OPT, BERT, RoBERTa, DistilBERT, T5, BART).
- The mask of dropout: a byte an element on a GPU, four on the CPU (DeBERTa, Segformer and those above).
- Attention of grouped queries in float32, without a mask: torch up to 2.13 has no fused kernel for it on a GPU and writes it
  out; the CPU has one (peft's Llama).
- Attention's result lies as its query does on the CPU, and by token on a GPU, where what follows needs no copy (Phi-3,
  GPT-NeoX, Whisper).
- How many edges of a graph are loops: values decide, and the most there can be is predicted (PyG).
- A scalar of 512 bytes that one of both keeps.
"""
Stage = dict[str, Any]
"""One stage by its name, with bytes and seconds, or with an error and its place."""


def entries() -> Iterator[Entry]:
    return chain(vision.entries(), language.entries(), perception.entries(), tuning.entries())


def missing_packages(entry: Entry) -> list[str]:
    return [package for package in entry.packages if importlib.util.find_spec(package) is None]


def trace_in_here(entry: Entry, tell: Callable[[Stage], None]) -> None:
    """Trace one model, and tell of each stage when it has ended: the caller reads as far as it came."""
    factory = from_callable(entry.build, params={}, name=entry.name)
    for stage, kind, with_workspaces in STAGES:
        begin = time.perf_counter()
        settings = TraceSettings(num_steps=STEPS, kind=kind, with_workspaces=with_workspaces, until_steady=False)
        try:
            traced = trace(factory, settings)
            peaks = replay(traced.trace).peaks
        except Exception as error:
            tell({"stage": stage, **_failure(error)})
            continue
        seconds = round(time.perf_counter() - begin, 2)
        tell({"stage": stage, "bytes": peaks.allocated_bytes, "reserved": peaks.reserved_bytes, "seconds": seconds})


def _failure(error: BaseException) -> dict[str, str]:
    """The first cause, and the innermost line that is neither torch's nor lrtool's."""
    chain_of: list[BaseException] = [error]
    while (before := chain_of[-1].__cause__ or chain_of[-1].__context__) is not None:
        chain_of.append(before)
    first = chain_of[-1]
    ours = (f"{os.sep}torch{os.sep}", f"{os.sep}lrtool{os.sep}")
    frames = [frame for each in chain_of for frame in traceback.extract_tb(each.__traceback__)]
    places = [each for each in frames if not any(part in each.filename for part in ours)]
    place = f"{'/'.join(Path(places[-1].filename).parts[-3:])}:{places[-1].lineno}" if places else ""
    text = (str(first).strip().splitlines() or [""])[0]
    return {"error": f"{type(first).__name__}: {text}", "place": place}


def measured(entry: Entry, limit_s: float) -> dict[str, Any]:
    """What a process of its own says of a model, as it is stored."""
    absent = missing_packages(entry)
    if absent:
        return {"key": entry.name, "skipped": f"needs {', '.join(absent)}"}
    begin = time.perf_counter()
    context = multiprocessing.get_context("fork")  # what was imported once is there for all
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=trace_in_here, args=(entry, sender.send))
    process.start()
    sender.close()
    stages = list(_said(receiver, begin + limit_s))
    process.join(max(begin + limit_s - time.perf_counter(), 0.0))
    ended = None if process.exitcode == 0 else f"ended with {process.exitcode}"
    if process.is_alive():
        process.kill()
        process.join()
        ended = f"took more than {limit_s:.0f} s"
    result = {"key": entry.name, "seconds": round(time.perf_counter() - begin, 1), "ended": ended}
    return result | {stage.pop("stage"): stage for stage in stages}


def _said(receiver: Connection, until_s: float) -> Iterator[Stage]:
    """What comes before that moment, or before the other end is closed."""
    while receiver.poll(max(until_s - time.perf_counter(), 0.0)):
        try:
            yield receiver.recv()
        except EOFError:
            return


def _prepare() -> None:
    """What every model's process would import anew."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    warnings.simplefilter("ignore")
    make_importable()
    for name in PRELOADED:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)


def _results(only: str, store: Path | None, limit_s: float) -> list[Result]:
    known, results = read_results(store), []
    _prepare()
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
    return f"{SECTION}\n\n{head}\n\n{report(results)}\n{NOTES}"


def main() -> int:
    """Trace the models, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--store", type=Path, help="a JSONL file in which results are kept as they come")
    parser.add_argument("--limit-s", type=float, default=300.0, help="seconds that a model may take")
    parser.add_argument("--write", action="store_true", help=f"write the table into {RESULTS.name}")
    options = parser.parse_args()
    results = _results(options.only, options.store, options.limit_s)
    print(section(results))
    if options.write:
        write_section(RESULTS, section(results), heading=SECTION)
    return 0


if __name__ == "__main__":
    sys.exit(main())
