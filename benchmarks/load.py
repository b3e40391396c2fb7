"""How lrtool bears load: `python -m benchmarks.load [--only NAME ...] [--scale 1.0] [--write]`.

Each command runs in a process of its own, as a user runs it. CPU seconds are those of its whole process tree, so that a
busy machine tells the same; memory is the most that any one of its processes held. What is read is made here, in a
temporary folder. `--scale` multiplies every size, `--write` puts the table into RESULTS.md; of the cases left out by
`--only`, its rows stay.
"""

import argparse
import multiprocessing
import os
import pickle
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
SECTION = "## Under load"
MIB = 2**20
MILLION = 1_000_000

WORKLOAD = """\
import torch
from torch import nn
from torch.nn import functional as F


class Many(nn.Module):
    def __init__(self, tensors):
        super().__init__()
        self.parts = nn.ParameterList(nn.Parameter(torch.zeros(4)) for _ in range(tensors))

    def forward(self, x):
        return x @ torch.stack(list(self.parts)).mean(0)


def build(tensors: int = 1, groups: int = 1, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    model = Many(tensors)
    parts = list(model.parts)
    x = torch.randn(64, 8, 4, generator=generator)
    return {
        "model": model,
        "optimizer": torch.optim.SGD([{"params": parts[number::groups]} for number in range(groups)], lr=0.1),
        "train_loader": list(zip(x, x.sum(2))),
        "loss": lambda model, batch: F.mse_loss(model(batch[0]), batch[1]),
    }
"""
"""A regression on four features, whose weights are the mean of so many tensors, in so many groups."""

NOTES = """\
A request is kept in 25 bytes, so that memory grows with the trace, and by no more. It is played three times: for the figures,
for the timeline, and for the segments where most was active.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one command took; `number` is how many `things` it was given."""

    case: str
    number: int
    things: str
    command: str
    cpu_s: float
    peak_mib: float
    exit_code: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What the commands of a case are given, and the folder they run in."""

    case: str
    number: int
    things: str
    folder: Path

    def row(self, *words: str, command: str | None = None) -> Row:
        """Run a command line, and measure it."""
        cpu_s, peak_mib, exit_code = measured(words, self.folder)
        return Row(
            case=self.case,
            number=self.number,
            things=self.things,
            command=command or " ".join(words),
            cpu_s=cpu_s,
            peak_mib=peak_mib,
            exit_code=exit_code,
        )


def measured(words: Sequence[str], folder: Path) -> tuple[float, float, int]:
    """The CPU seconds, the peak in MiB and the exit code of `lrtool WORDS`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LRTOOL_")}
    with (folder / "shown.txt").open("w+b") as shown:
        process = subprocess.Popen(
            [sys.executable, "-m", "lrtool", *words], cwd=folder, env=environment | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL, stdout=shown, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            shown.seek(0)
            sys.stderr.write(shown.read()[-2000:].decode(errors="replace"))
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode


def requests(scale: float, folder: Path) -> Iterator[Row]:
    """Traces of training steps, none of which repeats."""
    for millions in (2, 5, 10, 20):
        path = folder / "trace.jsonl"
        with path.open("w") as file:
            number = write_requests(file, scaled(millions * MILLION, scale))
        yield Load(case="requests", number=number, things="requests", folder=folder).row("replay", path.name)
        path.unlink()


def write_requests(file: TextIO, at_least: int) -> int:
    """Steps that keep activations, free them for gradients, and free those; the number of lines."""
    chance, number = random.Random(0), 0
    while number < at_least:
        length = chance.randrange(64, 512)
        lines = ['{"op": "step"}']
        for part in range(192):
            width = (768, 2304, 768, 3072)[part % 4]
            lines.append(f'{{"op": "alloc", "id": "w{part}", "size": {chance.randrange(512, MIB)}}}')
            lines.append(f'{{"op": "alloc", "id": "a{part}", "size": {length * width * 4}}}')
            lines.append(f'{{"op": "free", "id": "w{part}"}}')
        for part in reversed(range(192)):
            lines.append(f'{{"op": "alloc", "id": "g{part}", "size": {length * 768 * 4}}}')
            lines.append(f'{{"op": "free", "id": "a{part}"}}')
        lines += [f'{{"op": "free", "id": "g{part}"}}' for part in range(192)]
        file.write("\n".join(lines) + "\n")
        number += len(lines)
    return number


def snapshot(scale: float, folder: Path) -> Iterator[Row]:
    """A memory snapshot as torch writes it; a process that ends makes it, for this one to stay small."""
    path, number = folder / "snapshot.pickle", scaled(2_250_000, scale)
    process = multiprocessing.get_context("spawn").Process(target=write_snapshot, args=(path, number))
    process.start()
    process.join()
    things = f"events, {path.stat().st_size / MILLION:,.0f} MB"
    yield Load(case="snapshot", number=number, things=things, folder=folder).row("replay", path.name)


def write_snapshot(path: Path, at_least: int) -> None:
    """Steps that fill 64 segments and free them again, each allocation with one of 500 stacks."""
    chance, base, size = random.Random(0), 0x7F0000000000, 20 * MIB
    frames = [{"filename": f"/home/me/layers{n % 20}.py", "name": f"forward{n}", "line": n} for n in range(500)]
    addresses = [base + number * size for number in range(64)]
    events = [_event("segment_alloc", address, size, []) for address in addresses]
    while len(events) < at_least:
        stacks = [frames[first : first + 24] for first in (chance.randrange(476) for _ in addresses)]
        sizes = [512 * chance.randrange(2048, 20_000) for _ in addresses]
        made = list(zip(addresses, sizes, stacks, strict=True))
        events += [_event("alloc", *each) for each in made]
        for each in reversed(made):
            events += [_event("free_requested", *each), _event("free_completed", *each)]
    segments = [_free_segment(address, size) for address in addresses]
    settings = {"PYTORCH_CUDA_ALLOC_CONF": ""}
    with path.open("wb") as file:
        pickle.dump({"segments": segments, "device_traces": [events], "allocator_settings": settings}, file)


def _event(action: str, address: int, size: int, frames: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "action": action, "addr": address, "size": size, "stream": 0, "time_us": 1_700_000_000_000_000,
        "compile_context": "N/A", "user_metadata": "", "frames": list(frames),
    }  # fmt: skip


def _free_segment(address: int, size: int) -> dict[str, Any]:
    free = {"size": size, "requested_size": 0, "state": "inactive", "address": address, "frames": []}
    return {
        "device": 0, "address": address, "total_size": size, "stream": 0, "segment_type": "large",
        "is_expandable": False, "segment_pool_id": (0, 0), "blocks": [free],
    }  # fmt: skip


def trials(scale: float, folder: Path) -> Iterator[Row]:
    """A sweep of many trials, each of its own step size."""
    number = scaled(200, scale)
    load = Load(case="trials", number=number, things="trials", folder=folder)
    sizes = ",".join(str(2 + each) for each in range(number))
    target = _target(folder)
    yield load.row(
        "mem-sweep", target, "--step-sizes", sizes, "--recorder", "predicted", command="mem-sweep --recorder predicted"
    )
    yield from _reports(load)


def steps(scale: float, folder: Path) -> Iterator[Row]:
    """A range test of many steps."""
    load = Load(case="steps", number=scaled(100_000, scale), things="steps", folder=folder)
    yield _range_test(load, num_steps=load.number)
    yield from _reports(load)


def parameters(scale: float, folder: Path) -> Iterator[Row]:
    """A model of many small tensors."""
    load = Load(case="parameters", number=scaled(20_000, scale), things="tensors", folder=folder)
    tensors = f"tensors={load.number}"
    yield _range_test(load, "--param", tensors, num_steps=20)
    sweep = ("--step-sizes", "20", "--recorder", "predicted")
    yield load.row("mem-sweep", _target(folder), "--param", tensors, *sweep, command=" ".join(("mem-sweep", *sweep)))


def groups(scale: float, folder: Path) -> Iterator[Row]:
    """An optimizer of many parameter groups, one tensor in each."""
    load = Load(case="groups", number=scaled(1_000, scale), things="groups", folder=folder)
    both = ("--param", f"tensors={load.number}", "--param", f"groups={load.number}")
    yield _range_test(load, *both, num_steps=100)
    yield from _reports(load)


def runs(scale: float, folder: Path) -> Iterator[Row]:
    """A folder of many runs, copies of one."""
    load = Load(case="runs", number=scaled(10_000, scale), things="runs", folder=folder)
    first = _range_test(load, num_steps=100)
    if first.exit_code:
        yield first
        return
    original = folder / "runs" / "0001-range-test"
    for number in range(2, load.number + 1):
        copy = folder / "runs" / f"{number:04d}-range-test"
        copy.mkdir()
        for file in original.iterdir():
            (copy / file.name).hardlink_to(file)
    yield load.row("report", "last")
    yield load.row("report", str(load.number // 2))
    yield load.row("compare", "1", str(load.number))
    other = folder / "other.py"
    other.write_text(WORKLOAD)
    yield load.row("mem-sweep", other.name, "--step-sizes", "5", "--recorder", "predicted", command="mem-sweep")
    yield _range_test(load, num_steps=100)


CASES: dict[str, Callable[[float, Path], Iterator[Row]]] = {
    each.__name__: each for each in (requests, snapshot, trials, steps, parameters, groups, runs)
}


def scaled(number: int, scale: float) -> int:
    return max(round(number * scale), 2)


def _target(folder: Path) -> str:
    (folder / "made.py").write_text(WORKLOAD)
    return "made.py"


def _range_test(load: Load, *more: str, num_steps: int) -> Row:
    """Up to an LR at which nothing diverges, so that every step is taken."""
    words = ("range-test", _target(load.folder), "--num-steps", str(num_steps), "--end-lr", "0.1", "--device", "cpu")
    return load.row(*words, *more, command=f"range-test --num-steps {num_steps}")


def _reports(load: Load) -> Iterator[Row]:
    yield load.row("report", "last")
    yield load.row("report", "last", "--html")


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="NAME")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--write", action="store_true", help=f"write the table into {RESULTS.name}")
    options = parser.parse_args()
    rows = []
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            for row in CASES[name](options.scale, Path(folder)):
                print(line(row), flush=True)
                rows.append(row)
    if options.write:
        _write(RESULTS, rows)
    return int(any(row.exit_code for row in rows))


def line(row: Row) -> str:
    """A row as Markdown, with what a million of its things takes where there are as many."""
    millions = row.number / MILLION
    shares = f"{row.cpu_s / millions:.1f} | {row.peak_mib / millions:,.0f}" if millions >= 1 else "- | -"
    return (
        f"| {row.case} | {row.number:,} {row.things} | {row.command} | {row.cpu_s:.1f} | {row.peak_mib:,.0f} "
        f"| {shares} | {row.exit_code} |"
    )


def section(rows: Sequence[str]) -> str:
    """The section of RESULTS.md."""
    when = time.strftime("%Y-%m-%d", time.gmtime())
    machine = f"{os.cpu_count()} cores, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    lines = [
        SECTION, "",
        f"`python -m benchmarks.load --write`, torch {version('torch')}, Python {platform.python_version()}, {when}, "
        f"{machine}; no GPU used.",
        "CPU seconds of each command's process tree, and the most MiB that one of its processes held.", "",
        "| case | load | command | CPU, s | peak, MiB | s per million | MiB per million | exit code |",
        "| --- | --: | --- | --: | --: | --: | --: | --: |", *rows,
    ]  # fmt: skip
    return "\n".join(lines) + "\n\n" + NOTES


def with_kept(rows: Sequence[Row], text: str) -> list[str]:
    """The rows as Markdown, and of the cases that were not measured now those of an earlier table."""
    measured_now = {row.case for row in rows}
    earlier = [each for each in text.partition(SECTION)[2].partition("\n## ")[0].splitlines() if each.startswith("| ")]
    found = []
    for name in CASES:
        found += [line(row) for row in rows if row.case == name]
        found += [each for each in earlier if each.startswith(f"| {name} |") and name not in measured_now]
    return found


def _write(path: Path, rows: Sequence[Row]) -> None:
    from benchmarks.liger_prediction import write_section  # here: with torch this process would not stay small

    write_section(path, section(with_kept(rows, path.read_text())), heading=SECTION)


if __name__ == "__main__":
    sys.exit(main())
