"""Predicted peaks of whole programs against those that public CUDA memory snapshots of them show.

    python benchmarks/snapshot_prediction.py [FOLDER | TRUTH.json.gz] [--only TEXT] [--rows] [--write] [--reduce FILE]

FOLDER holds the snapshots, gzip'd. Each program (`snapshot_programs/`) is traced on fake CUDA tensors from its first
allocation on, warm-up steps included, and replayed through the allocator of the torch it ran on; what the recorded part
took is compared: peaks, and every single request in order. Errors are (predicted - measured) / measured.
`--reduce` writes what is compared into a file that can take FOLDER's place. `--write` puts the table into RESULTS.md.
"""

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.liger_prediction import MIB, RESULTS, quantile, write_section
from benchmarks.request_differences import Difference, by_operator, differences, traced_requests
from benchmarks.snapshot_runs import PUBLISHED, RUNS, PublishedPeaks, SnapshotRun
from benchmarks.snapshot_truth import SnapshotTruth, read_reduced, truth_of, write_reduced
from lrtool.memory.metrics import Peaks, fragmentation_ratio
from lrtool.memory.replay.interval import ends, replays_otherwise
from lrtool.memory.replay.replay import ReplayResult, Scenario, replay
from lrtool.memory.trace.allocation_trace import AllocationTrace
from lrtool.results import Assumption
from lrtool.tracing.fake_cuda.gpu import FakeGpu
from lrtool.tracing.tracer.to_trace import trace_of
from lrtool.tracing.tracer.tracer import recording
from lrtool.tracing.workspaces.operators import HiddenCosts
from lrtool.tracing.workspaces.platform import Platform
from lrtool.units import format_bytes

DATA = Path(__file__).parents[2] / "shared" / "data" / "cuda-snapshots"
SECTION = "## Whole programs against public CUDA memory snapshots"
NOTES = """\
How blind this is: no number was fitted to these snapshots. Each program is restated from its public script and from the
stacks in its snapshot; which variables stay alive, and for how long, was corrected where frees came in another order. Four
faults of the tracer were found here and then mended from torch's sources: selections (max, sort) wrote their gradient out of
place, what is done in place had no workspaces, the copy that a matrix product makes of an expanded gradient was not counted,
and inference mode hid temporaries. That Blackwell has small cuBLAS workspaces in torch 2.11 was seen here too.
`x[:, -1, :]` is written out as the torch of its snapshot took it. Where no log tells the GPU, an A100 is taken. All snapshots
are of transformers written out in elementary operators: convolutions, recurrent layers, fused attention and other optimizers
are not covered by them.

Requests that the trace lacks are one array of `index_put_`, freed again at once. Where requests and allocated memory agree and
reserved memory does not, addresses differ: the driver's are not known, and best fit goes by address among equals.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A run with its prediction; `differences` are requests that only one side makes."""

    run: SnapshotRun
    truth: SnapshotTruth
    predicted: Peaks
    reserved_ends: tuple[int, int]
    num_requests: int
    differences: tuple[Difference, ...]

    def error(self, name: str) -> float:
        """The signed relative error of a peak."""
        measured: int = getattr(self.truth.peaks, name)
        predicted: int = getattr(self.predicted, name)
        return predicted / measured - 1

    @property
    def fragmentation_error(self) -> float:
        """Predicted minus measured share of reserved memory that is not in use at its peak."""
        return _fragmentation(self.predicted) - _fragmentation(self.truth.peaks)

    def num_differing(self, *, missing: bool) -> int:
        return sum(each.count for each in self.differences if each.is_missing is missing)


def predicted_trace(run: SnapshotRun) -> tuple[AllocationTrace, tuple[Assumption, ...]]:
    """The program's requests from the first on, a step mark before each of its steps; and what was taken for granted."""
    platform = Platform(capability=run.capability, torch_version=(run.version.major, run.version.minor))
    num_parts = 0
    with recording("predicted", gpu=FakeGpu(capability=run.capability), costs=HiddenCosts(platform)) as recorder:
        for _ in run.program():
            recorder.end_step()
            recorder.phase = None
            num_parts += 1
        recorder.stop()
        trace = trace_of(recorder.log.steps, period=None, num_steps=num_parts - 1, name=run.label)
    gc.collect()
    return trace, recorder.assumptions


def compare(run: SnapshotRun, truth: SnapshotTruth) -> Outcome:
    """Predict a run, and hold it against what was recorded of it."""
    trace, assumptions = predicted_trace(run)
    played = [_recorded_part(run, each) for each in replays_otherwise(trace, Scenario(version=run.version))]
    made = traced_requests(trace, last_step_only=not run.is_whole)
    return Outcome(
        run=run,
        truth=truth,
        predicted=played[0],
        reserved_ends=ends([each.reserved_bytes for each in played], assumptions, is_reserved=True),
        num_requests=len(made),
        differences=tuple(differences(truth.requests, made)),
    )


def _recorded_part(run: SnapshotRun, replayed: ReplayResult) -> Peaks:
    """The peaks of what was recorded: of the whole run, or of its last step."""
    last = replayed.steps[-1]
    in_last_step = Peaks(
        allocated_bytes=last.peak_allocated_bytes,
        active_bytes=last.peak_allocated_bytes,
        reserved_bytes=last.reserved_bytes,
        requested_bytes=0,
    )
    return replayed.peaks if run.is_whole else in_last_step


def _fragmentation(peaks: Peaks) -> float:
    return fragmentation_ratio(peaks.active_bytes, peaks.reserved_bytes) or 0.0


def report(outcomes: Sequence[Outcome]) -> str:
    """The section of RESULTS.md."""
    when = time.strftime("%Y-%m-%d", time.gmtime())
    apart = by_operator(each.differences for each in outcomes)
    lines = [
        SECTION, "", f"`python benchmarks/snapshot_prediction.py --write`, torch {torch.__version__}, {when}; "
        f"{len(outcomes)} of {len(RUNS)} snapshots, no GPU used.",
        "Errors are (predicted - measured) / measured; of fragmentation, the difference.", "",
        "| program | allocated, measured | allocated | reserved, measured | reserved | fragmentation "
        "| requests, recorded | lacks | too many |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |", *map(_row, outcomes), "",
        "| absolute error of | median | 90th percentile | worst | lowest prediction |",
        "| --- | --: | --: | --: | --: |",
        _summary("peak allocated", [each.error("allocated_bytes") for each in outcomes]),
        _summary("peak reserved", [each.error("reserved_bytes") for each in outcomes]), "",
    ]  # fmt: skip
    if apart:
        lines += ["| operator | the trace | requests | bytes |", "| --- | --- | --: | --: |"]
        lines += [f"| {name} | {way} | {count} | {format_bytes(size)} |" for name, way, count, size in apart]
        lines.append("")
    lines += [
        "Predicted before anything was compared, and not corrected afterwards:", "",
        "| program | allocated, measured | allocated | reserved, measured | reserved | published |",
        "| --- | --: | --: | --: | --: | --- |", *map(_published_row, PUBLISHED), "",
    ]  # fmt: skip
    return "\n".join(lines) + f"\n{NOTES}"


def _published_row(each: PublishedPeaks) -> str:
    trace, _ = predicted_trace(each.run)
    predicted = replay(trace, Scenario(version=each.run.version)).peaks
    allocated = predicted.allocated_bytes / MIB / each.allocated_mib - 1
    reserved = predicted.reserved_bytes / MIB / each.reserved_mib - 1
    return (
        f"| {each.run.label} | {each.allocated_mib:,.1f} MiB | {allocated:+.3%} | {each.reserved_mib:,.1f} MiB "
        f"| {reserved:+.3%} | {each.source} |"
    )


def _row(each: Outcome) -> str:
    peaks = each.truth.peaks
    return (
        f"| {each.run.label} | {format_bytes(peaks.allocated_bytes)} | {each.error('allocated_bytes'):+.3%} "
        f"| {format_bytes(peaks.reserved_bytes)} | {each.error('reserved_bytes'):+.3%} "
        f"| {each.fragmentation_error:+.3%} | {len(each.truth.requests)} "
        f"| {each.num_differing(missing=True)} | {each.num_differing(missing=False)} |"
    )


def _summary(name: str, signed: Sequence[float]) -> str:
    sizes = [abs(error) for error in signed]
    figures = (quantile(sizes, 0.5), quantile(sizes, 0.9), max(sizes), 1 + min(signed))
    return f"| {name} | " + " | ".join(f"{figure:.3%}" for figure in figures) + " |"


def details(outcome: Outcome) -> str:
    """One run's differing requests."""
    lines = [_row(outcome)]
    for each in outcome.differences:
        way = "lacks" if each.is_missing else "too many"
        place = " < ".join(each.place)
        lines.append(f"  {way:8} {each.count:3} x {each.size_bytes:>12,} B  at {each.operator}  {place}")
    return "\n".join(lines)


def read_truths(given: Path, runs: Sequence[SnapshotRun]) -> dict[str, SnapshotTruth]:
    """By the snapshot's file name, from a folder of snapshots or a file that they were reduced to."""
    if given.is_file():
        return read_reduced(given)
    paths = [given / run.file for run in runs]
    return {
        run.file: truth_of(path, Scenario(version=run.version))
        for run, path in zip(runs, paths, strict=True)
        if path.is_file()
    }


def main() -> int:
    """Predict, compare and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("given", type=Path, nargs="?", default=DATA, metavar="FOLDER | TRUTH")
    parser.add_argument("--only", default="", help="programs whose label contains this")
    parser.add_argument("--rows", action="store_true", help="list the differing requests of each as it is compared")
    parser.add_argument("--write", action="store_true", help=f"write the table into {RESULTS.name}")
    parser.add_argument("--reduce", type=Path, help="write what predictions are held against into this file, and stop")
    options = parser.parse_args()
    runs = [run for run in RUNS if options.only in run.label]
    truths = read_truths(options.given, runs)
    if not truths:
        print(f"{options.given} holds none of these snapshots: nothing can be compared without")
        return 1
    if options.reduce:
        write_reduced(options.reduce, list(truths.values()))
        return 0
    outcomes = []
    for run in runs:
        if run.file in truths:
            outcomes.append(compare(run, truths[run.file]))
            if options.rows:
                print(details(outcomes[-1]), flush=True)
    print(report(outcomes))
    if options.write:
        write_section(RESULTS, report(outcomes), heading=SECTION)
    return 0


if __name__ == "__main__":
    sys.exit(main())
