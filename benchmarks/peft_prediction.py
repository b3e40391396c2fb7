"""Predicted peaks of fine-tuning against those that PEFT's method comparison measured on an L40S.

    python benchmarks/peft_prediction.py [peft_method_comparison_memory.csv] [--only NAME] [--rows] [--fit] [--write]

It needs transformers 5.13 and peft 0.21 (`pip install --no-deps transformers==5.13.1 peft==0.21.2`), whose code is what is
traced. The CSV has one row per method with `reserved_max`, the most that torch's allocator reserved in 5,000 steps.
The script sorts batches of 4 by length in buckets of 20 and empties the cache after every tenth step, so that the batch
that needs most meets an empty cache; before it went the shortest batch of the bucket before. How long that longest
batch is, is not published: it is fitted on one row (`--fit`), and every other row is predicted with it.
"""

import argparse
import csv
import gc
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.liger_prediction import RESULTS, quantile, write_section
from benchmarks.peft_methods import METHODS
from benchmarks.peft_training import Training, adapted, base_model, batch_of, num_parameters
from lrtool.memory.fake_cuda import FakeGpu
from lrtool.memory.hidden_costs import HiddenCosts, this_platform
from lrtool.memory.replay import Scenario, replay
from lrtool.memory.stream import AllocationStream
from lrtool.memory.traced_stream import stream_of
from lrtool.memory.tracer import recording
from lrtool.units import format_bytes

DATA = Path(__file__).parents[2] / "shared" / "data" / "ground-truth" / "peft_method_comparison_memory.csv"
SECTION = "## Fine-tuning against PEFT's published peaks"
MODEL = "llama-3.2-3B"
L40S = FakeGpu(capability=(8, 9), total_bytes=44 * 2**30)
MIB = 2**20
FIT_ROW = "lora--rank32"
LONGEST_TOKENS = 700
"""Fitted on FIT_ROW alone, by `--fit`; the script cuts at 768."""
SHORT_TOKENS = 100
"""Of the batches before: enough that the optimizer has its state, and short as the last ones of a bucket are."""
MAX_TOKENS = 768
IMAGE_ROWS = "FLUX.2's code (diffusers) and the sizes that its pipeline draws were not rebuilt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: bytes reserved at most, and the parameters it trained and had."""

    name: str
    measured: int
    trainable: int
    total: int

    @property
    def split(self) -> str:
        return "fit" if self.name == FIT_ROW else "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A row with its predicted bytes, or why there is no prediction."""

    row: Row
    predicted: int | None = None
    why_not: str = ""

    @property
    def error(self) -> float:
        """Signed, relative."""
        assert self.predicted is not None
        return self.predicted / self.row.measured - 1


def read_rows(path: Path) -> list[Row]:
    """The rows of language models."""
    with path.open(newline="") as file:
        return [
            Row(
                name=line["file"].removesuffix(".json").replace(f"{MODEL}-", ""),
                measured=int(line["reserved_max"]),
                trainable=int(line["trainable"]),
                total=int(line["total"]),
            )
            for line in csv.DictReader(file)
            if line["task"] == "MetaMathQA"
        ]


def traced(row: Row, longest: int = LONGEST_TOKENS) -> AllocationStream:
    """The stream of building, a short batch, and the longest. Raises ValueError where other parameters are trained."""
    method, costs = METHODS[row.name], HiddenCosts(this_platform(L40S.capability))
    with recording("predicted", gpu=L40S, costs=costs) as recorder:
        model = adapted(base_model(), method)
        training = Training(model, method)
        counted = num_parameters(model)
        if counted != (row.trainable, row.total):
            raise ValueError(f"trains {counted[0]:,} of {counted[1]:,} parameters, not {row.trainable:,} of {row.total:,}")
        recorder.phase = None
        recorder.end_step()
        for tokens in (SHORT_TOKENS, longest):
            torch.cuda.empty_cache()
            training.step(batch_of(tokens))
            recorder.end_step()
        recorder.stop()
        stream = stream_of(recorder.log.steps, period=None, num_steps=2, name=row.name)
        del training, model
    gc.collect()
    return stream


def predict(row: Row, longest: int = LONGEST_TOKENS) -> int:
    """Bytes reserved at most."""
    return replay(traced(row, longest), Scenario(capacity_bytes=L40S.total_bytes)).peaks.reserved_bytes


def outcome(row: Row) -> Outcome:
    """The prediction, or the reason why there is none."""
    try:
        return Outcome(row=row, predicted=predict(row))
    except Exception as error:
        return Outcome(row=row, why_not=f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")


def fitted(row: Row) -> int:
    """The longest batch whose prediction is nearest to the row's measurement; the shortest of equals."""
    low, high = SHORT_TOKENS, MAX_TOKENS
    while high - low > 8:
        middle = (low + high) // 2
        low, high = (middle, high) if predict(row, middle) < row.measured else (low, middle)
    return min(range(low - 4, min(high + 4, MAX_TOKENS) + 1), key=lambda tokens: abs(predict(row, tokens) - row.measured))


def main() -> int:
    """Predict, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, nargs="?", default=DATA)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--rows", action="store_true", help="print each row as well")
    parser.add_argument("--fit", action="store_true", help=f"fit the longest batch on {FIT_ROW}, and only that")
    parser.add_argument("--write", action="store_true", help=f"write the table into {RESULTS.name}")
    options = parser.parse_args()
    if not options.csv.is_file():
        print(f"{options.csv} is not there: it holds the published measurements, and nothing can be compared without")
        return 1
    rows = read_rows(options.csv)
    if options.fit:
        print(f"{fitted(next(row for row in rows if row.name == FIT_ROW))} tokens")
        return 0
    outcomes = []
    for row in rows:
        if options.only in row.name:
            begin = time.perf_counter()
            outcomes.append(outcome(row))
            if options.rows:
                last = outcomes[-1]
                print(f"{row.name:45} {last.error:+.2%} {last.predicted / MIB:.0f} {row.measured / MIB:.0f}" if last.predicted else f"{row.name:45} {last.why_not}", f"{time.perf_counter() - begin:.0f}s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
