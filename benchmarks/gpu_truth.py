"""Records on a GPU what training uses, and holds lrtool's predictions against it.

    python -m benchmarks.gpu_truth record OUT --minutes 8    on a machine with a GPU: the most telling first
    python -m benchmarks.gpu_truth compare OUT               anywhere: errors of the peaks, and what the traces lack

`record --device cpu` rehearses with a few small workloads on the CPU. OUT receives context.json, what the device has in use
after the first use of each library; GROUP/CASE.json.gz for single layers, whose memory libraries decide; and NAME.json.gz
for each workload: the allocator's whole history with stacks, torch.cuda.memory_stats after each step, what the device had
in use, and the versions of everything. Each is written whole as it ends, whatever happens to the next; what OUT holds
already is not recorded again. `compare --write` puts the table into RESULTS.md.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.gpu_comparison import Comparison, compare, missing_by_operator
from benchmarks.gpu_recording import Machine, read_truth
from benchmarks.gpu_schedule import command_of, parts, record_here, record_parts
from benchmarks.liger_prediction import RESULTS, quantile, write_section
from lrtool.errors import LrtoolError
from lrtool.units import format_bytes

SECTION = "## Predicted training steps against a real GPU"
MINUTES = 12.0
MAX_OPERATORS = 25


def report(comparisons: Sequence[Comparison]) -> str:
    """The section of RESULTS.md."""
    where = " and ".join(sorted({_machine(each.truth.machine) for each in comparisons}))
    when = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [
        SECTION, "", f"`python benchmarks/gpu_truth.py compare OUT --write`, {when}; recorded on {where}; predicted with "
        f"torch {torch.__version__}.", "Errors are (predicted - measured) / measured; of fragmentation, the difference. "
        "Nothing was fitted to the rows marked table.", "",
        "| workload | half | allocated | active | reserved | fragmentation | beside torch |",
        "| --- | --- | --: | --: | --: | --: | --: |",
        *map(_row, comparisons), "",
        "| absolute error of | half | median | 90th percentile | worst | lowest prediction |",
        "| --- | --- | --: | --: | --: | --: |",
        *_summary(comparisons), "",
        f"Requests of the last step that differ, by the traced operator there; the {MAX_OPERATORS} with most bytes:", "",
        "| operator | the trace | requests | bytes |", "| --- | --- | --: | --: |",
        *(f"| {name} | {way} | {count} | {format_bytes(size)} |"
          for name, way, count, size in missing_by_operator(comparisons)[:MAX_OPERATORS]),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _machine(machine: Machine) -> str:
    gpu = f"{machine.gpu}, driver {machine.driver}, cuDNN {machine.cudnn}" if machine.gpu else "a CPU (a rehearsal)"
    return f"{gpu}, torch {machine.torch}"


def _row(each: Comparison) -> str:
    errors = each.errors()
    other = "-" if each.other_error is None else f"{each.other_error:+.1%}"
    figures = " | ".join(f"{errors[name]:+.2%}" for name in errors)
    return f"| {each.truth.name} | {each.truth.split} | {figures} | {other} |"


def _summary(comparisons: Sequence[Comparison]) -> list[str]:
    lines = []
    for name in ("allocated_bytes", "active_bytes", "reserved_bytes"):
        for split in ("fit", "table"):
            signed = [each.errors()[name] for each in comparisons if each.truth.split == split]
            if not signed:
                continue
            sizes = [abs(error) for error in signed]
            figures = (quantile(sizes, 0.5), quantile(sizes, 0.9), max(sizes), 1 + min(signed))
            lines.append(
                f"| {name.removesuffix('_bytes')} | {split} | " + " | ".join(f"{f:.2%}" for f in figures) + " |"
            )
    return lines


def details(comparison: Comparison) -> str:
    """The differing requests of one workload."""
    lines = [f"{comparison.truth.name}: measured {comparison.measured}", f"  predicted {comparison.predicted}"]
    for each in comparison.differences:
        way = "lacks" if each.is_missing else "too many"
        place = " < ".join(each.place)
        lines.append(f"  {way:8} {each.count:3} x {each.size_bytes:>12,} B  at {each.operator}  {place}")
    return "\n".join(lines)


def _compared(paths: Sequence[Path]) -> Iterator[Comparison]:
    for path in paths:
        try:
            yield compare(read_truth(path))
        except LrtoolError as error:
            print(f"{path.name} is not predicted: {error.message}")


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("out", type=Path, help="folder of the recorded truths")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="record: how long; nothing is begun that has no time"
    )
    parser.add_argument("--rows", action="store_true", help="compare: list every differing request")
    parser.add_argument("--write", action="store_true", help=f"compare: write the table into {RESULTS.name}")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.action == "record":
        if options.device == "cuda" and not torch.cuda.is_available():
            print("there is no GPU here; `record OUT --device cpu` rehearses")
            return 4
        if options.here:
            record_here(options.out, device=options.device, name=options.here)
            return 0
        planned = parts(device=options.device, only=options.only)
        return record_parts(
            planned, options.out, command_of(__file__, options.out, options.device), minutes=options.minutes
        )
    paths = sorted(path for path in options.out.glob("*.json.gz") if options.only in path.name)
    if not paths:
        print(f"{options.out} holds no recorded workloads")
        return 2
    comparisons = list(_compared(paths))
    if options.rows:
        print("\n".join(map(details, comparisons)))
    print(report(comparisons))
    if options.write:
        write_section(RESULTS, report(comparisons), heading=SECTION)
    return 0


if __name__ == "__main__":
    sys.exit(main())
