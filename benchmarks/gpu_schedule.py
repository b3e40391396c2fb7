"""What is recorded on a GPU that is lent for minutes: the most telling first, each part in a process, each result at once.

Whatever ends the loan, what was recorded by then lies on the disk, and the next one goes on from there.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.gpu_cases import GROUPS
from benchmarks.gpu_context import LIBRARIES, used_after
from benchmarks.gpu_recording import (
    CaseTruth,
    case_path,
    device_used_bytes,
    record,
    record_case,
    this_machine,
    write_case,
    write_truth,
)
from benchmarks.gpu_workloads import REHEARSAL, WORKLOADS, find_workload
from lrtool.results.stored.checked_json import json_text
from lrtool.results.stored.run_dir import write_file
from lrtool.units import format_bytes

CONTEXT = "context"
CONTEXT_FILE = "context.json"
BEGINS = "begins "
LEAST_S = 10
"""With less time than that, nothing is begun any more: importing torch and starting CUDA takes as much."""
GROUP_LIMIT_S, WORKLOAD_LIMIT_S = 150, 90
MOST_TELLING = (
    CONTEXT, "convolutions", "recurrent", "attention",
    "resnet50_bf16", "lstm_adamw", "gpt2_bf16", "convnext_adamw", "bert_bf16", "resnet50_channels_last",
    "gpt2_bf16_compiled", "resnet18_sgd", "resnet18_compiled", "gru_sgd", "llama_bf16", "mobilenet_sgd", "unet_adamw",
)  # fmt: skip
"""What most of the rest follows from: what cuDNN, its recurrent layers and the attention kernels take, and the context."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one process records: the context, a group of layers, or a workload."""

    name: str
    limit_s: float

    def is_done(self, folder: Path) -> bool:
        """Whether `folder` holds all of it."""
        if self.name == CONTEXT:
            return (folder / CONTEXT_FILE).is_file()
        if self.name in GROUPS:
            return all(case_path(folder, self.name, case.name).is_file() for case in GROUPS[self.name]())
        return (folder / f"{self.name}.json.gz").is_file()


def parts(*, device: str, only: str = "") -> list[Part]:
    """All there is to record, in order."""
    if device == "cuda":
        rest = [each.name for each in WORKLOADS if each.name not in MOST_TELLING]
        names = [*MOST_TELLING, *rest]
    else:
        names = [CONTEXT, "rehearsed", *(each.name for each in REHEARSAL)]
    limits = dict.fromkeys((CONTEXT, *GROUPS), GROUP_LIMIT_S)
    return [Part(name=name, limit_s=limits.get(name, WORKLOAD_LIMIT_S)) for name in names if only in name]


def record_parts(
    planned: Sequence[Part], folder: Path, command: Callable[[Part], list[str]], *, minutes: float, say: Say = print
) -> int:
    """Record what `folder` does not hold yet, within the time; 1 where something failed or was left out."""
    folder.mkdir(parents=True, exist_ok=True)
    begin, failed = time.monotonic(), 0
    for part in planned:
        while not part.is_done(folder):
            left_s = minutes * 60 - (time.monotonic() - begin)
            if left_s < LEAST_S:
                say(f"stopped before {part.name}: {minutes:g} minutes are over; run again for the rest")
                return 1
            ended = _in_process(command(part), limit_s=min(part.limit_s, left_s))
            say(ended.told or f"{part.name}: {ended.how}")
            if part.is_done(folder):
                break
            failed += 1
            if not _is_known(ended, part, folder):
                break
    say(f"{folder}: {_size(folder)} after {time.monotonic() - begin:.0f} s, {failed} failed")
    return 1 if failed else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """How a part's process ended; `begun` is the case that it was at, None where it was at none."""

    how: str
    told: str
    begun: str | None


def _in_process(command: Sequence[str], *, limit_s: float) -> _Ended:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=limit_s)
        how = f"ended with {process.returncode}: {err.strip()[-400:]}"
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        how = f"not done after {limit_s:.0f} s"
    lines = out.splitlines()
    begun = lines[-1].removeprefix(BEGINS) if lines and lines[-1].startswith(BEGINS) else None
    told = "\n".join(line for line in lines if not line.startswith(BEGINS))
    return _Ended(how=how, told=told, begun=begun)


def _is_known(ended: _Ended, part: Part, folder: Path) -> bool:
    """Whether it was one layer that ended the process of many: that is stored, and the others are taken up again."""
    if part.name not in GROUPS or ended.begun is None:
        return False
    machine = this_machine(torch.device("cpu"))
    write_case(folder, CaseTruth(group=part.name, name=ended.begun, machine=machine, error=f"its process {ended.how}"))
    return True


def _size(folder: Path) -> str:
    return format_bytes(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def record_here(folder: Path, *, device: str, name: str) -> None:
    """Record one part in this process."""
    if name == CONTEXT:
        _record_context(folder, torch.device(device))
    elif name in GROUPS:
        _record_group(folder, torch.device(device), name)
    else:
        _record_workload(folder, device, name)


def _record_context(folder: Path, device: torch.device) -> None:
    """Each library's line as it was used; the file takes its name with the last of them."""
    before = device_used_bytes() if device.type == "cuda" else None
    found: list[dict[str, object]] = []
    for library, use in LIBRARIES.items():
        found.append(asdict(used_after(library, use, device, device_used_bytes)))
        whole = {"machine": asdict(this_machine(device)), "smi_bytes_before": before, "libraries": found}
        is_last = len(found) == len(LIBRARIES)
        write_file(folder / (CONTEXT_FILE if is_last else f"part-of-{CONTEXT_FILE}"), json_text(whole) + "\n")
    (folder / f"part-of-{CONTEXT_FILE}").unlink()
    print(f"{CONTEXT}: {len(found)} libraries, {sum(each['error'] is not None for each in found)} of them not there")


def _record_group(folder: Path, device: torch.device, name: str) -> None:
    """Each layer that is not recorded yet."""
    begin, count, failed = time.perf_counter(), 0, 0
    for case in GROUPS[name]():
        if case_path(folder, name, case.name).is_file():
            continue
        print(f"{BEGINS}{case.name}", flush=True)
        torch.manual_seed(0)
        truth = record_case(case, device, group=name)
        write_case(folder, truth)
        count, failed = count + 1, failed + (truth.error is not None)
    print(f"{name}: {count} layers, {failed} refused, {time.perf_counter() - begin:.1f} s")


def _record_workload(folder: Path, device: str, name: str) -> None:
    used = device_used_bytes() if device == "cuda" else None
    truth = record(find_workload(name), device=torch.device(device), used_before_bytes=used)
    path = write_truth(folder, truth)
    print(f"{name}: {len(truth.events)} events, {truth.duration_s:.1f} s, {format_bytes(path.stat().st_size)}")


def command_of(script: str, folder: Path, device: str) -> Callable[[Part], list[str]]:
    """The command line that records a part of it."""
    return lambda part: [sys.executable, script, "record", str(folder), "--device", device, "--here", part.name]
