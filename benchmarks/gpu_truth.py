"""Records on a GPU what training uses, and holds lrtool's predictions against it.

    python benchmarks/gpu_truth.py record OUT      on a machine with a GPU: every workload, each in a process of its own
    python benchmarks/gpu_truth.py compare OUT     anywhere: errors of the peaks, and what the traces lack, by operator

`record --device cpu` rehearses with a few small workloads on the CPU. OUT receives NAME.json.gz for each workload: the
allocator's whole history with stacks, torch.cuda.memory_stats after each step, what the device had in use, and the
versions of everything. What OUT holds already is not recorded again. `compare --write` puts the table into RESULTS.md.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.gpu_comparison import Comparison, compare, missing_by_operator
from benchmarks.gpu_recording import Machine, device_used_bytes, read_truth, record, write_truth
from benchmarks.gpu_workloads import REHEARSAL, WORKLOADS, find_workload
from benchmarks.liger_prediction import RESULTS, quantile, write_section
from lrtool.units import format_bytes

SECTION = "## Predicted training steps against a real GPU"
TIME_LIMIT_S = 12 * 60
WORKLOAD_LIMIT_S = 90
MAX_OPERATORS = 25


def record_all(folder: Path, *, device: str, only: str) -> int:
    """Record every workload that `folder` does not hold yet, within the time limit; 1 where one of them failed."""
    folder.mkdir(parents=True, exist_ok=True)
    begin, failed = time.monotonic(), 0
    workloads = [each for each in (WORKLOADS if device == "cuda" else REHEARSAL) if only in each.name]
    for workload in workloads:
        if (folder / f"{workload.name}.json.gz").is_file():
            continue
        if time.monotonic() - begin > TIME_LIMIT_S - WORKLOAD_LIMIT_S:
            print(f"stopped before {workload.name}: {TIME_LIMIT_S} s are nearly over; run again for the rest")
            return 1
        failed += not _record_in_process(folder, workload.name, device)
    size = sum(path.stat().st_size for path in folder.glob("*.json.gz"))
    print(f"{folder}: {format_bytes(size)} after {time.monotonic() - begin:.0f} s, {failed} failed")
    return 1 if failed else 0


def _record_in_process(folder: Path, name: str, device: str) -> bool:
    command = [sys.executable, __file__, "record", str(folder), "--device", device, "--here", name]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=WORKLOAD_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        print(f"{name}: not done after {WORKLOAD_LIMIT_S} s")
        return False
    print(ended.stdout.strip() or f"{name}: {ended.stderr.strip()[-400:]}", flush=True)
    return ended.returncode == 0


def record_here(folder: Path, *, device: str, name: str) -> None:
    """Record one workload in this process."""
    used = device_used_bytes() if device == "cuda" else None
    truth = record(find_workload(name), device=torch.device(device), used_before_bytes=used)
    path = write_truth(folder, truth)
    print(f"{name}: {len(truth.events)} events, {truth.duration_s:.1f} s, {format_bytes(path.stat().st_size)}")


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


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("out", type=Path, help="folder of the recorded truths")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
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
        return record_all(options.out, device=options.device, only=options.only)
    paths = sorted(path for path in options.out.glob("*.json.gz") if options.only in path.name)
    if not paths:
        print(f"{options.out} holds no recorded workloads")
        return 2
    comparisons = [compare(read_truth(path)) for path in paths]
    if options.rows:
        print("\n".join(map(details, comparisons)))
    print(report(comparisons))
    if options.write:
        write_section(RESULTS, report(comparisons), heading=SECTION)
    return 0


if __name__ == "__main__":
    sys.exit(main())
