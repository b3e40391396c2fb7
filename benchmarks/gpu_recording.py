"""Records one workload's memory as the allocator itself tells it: on a GPU, or in rehearsal on the CPU.

Nothing of the training is watched from Python: the history is the allocator's own on CUDA, and the profiler's on the CPU.
"""

import gzip
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_cases import Case
from benchmarks.gpu_workloads import GpuWorkload
from lrtool.results.stored.run_dir import write_file
from lrtool.workload.batches import Batches
from lrtool.workload.devices import place
from lrtool.workload.step import Step, make_step
from lrtool.workload.target import from_callable

NUM_STEPS = 5
CASE_STEPS = 2
"""The first, in which libraries are loaded and workspaces taken, and one as all that follow."""
MAX_EVENTS = 2_000_000
MAX_FRAMES = 12
MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where a truth was recorded; `gpu` and what follows it are None on a CPU."""

    torch: str
    gpu: str | None = None
    capability: tuple[int, int] | None = None
    total_bytes: int | None = None
    driver: str | None = None
    cuda: str | None = None
    cudnn: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What one workload asked for and took.

    `events` are (bytes, stack) of an allocation and (-bytes, event of the allocation) of a free, -1 where that is not
    known; `stack` indexes `stacks`, each some lines "file:line function" from the inside out. `ends` is the number of
    events at the end of the build and of each step, `stats` torch.cuda.memory_stats() there (none on a CPU).
    `used_bytes` is what the whole device had in use before the process had a context, with nothing but the context, and
    at the end.
    """

    name: str
    split: str
    machine: Machine
    events: list[tuple[int, int]]
    stacks: list[list[str]]
    ends: list[int]
    stats: list[dict[str, int]]
    used_bytes: dict[str, int | None]
    duration_s: float


class History(Protocol):
    """A source of the allocator's own history."""

    def recording(self) -> Any: ...

    def mark(self) -> None:
        """The build, or a step, has ended."""

    def events(self) -> tuple[list[tuple[int, int]], list[list[str]], list[int]]:
        """Events, stacks and ends, as a Truth has them."""


class CudaHistory:
    """The CUDA caching allocator's history; a step ends where the next one's first allocation stands."""

    def __init__(self) -> None:
        self._num_allocs: list[int] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        torch.cuda.memory._record_memory_history("all", stacks="python", max_entries=MAX_EVENTS)
        try:
            yield
        finally:
            self._trace = torch.cuda.memory._snapshot()["device_traces"][torch.cuda.current_device()]
            torch.cuda.memory._record_memory_history(None)

    def mark(self) -> None:
        torch.cuda.synchronize()
        self._num_allocs.append(torch.cuda.memory_stats()["allocation.all.allocated"])

    def events(self) -> tuple[list[tuple[int, int]], list[list[str]], list[int]]:
        events: list[tuple[int, int]] = []
        stacks = _Stacks()
        born: dict[int, int] = {}
        allocations: list[int] = []
        for entry in self._trace:
            if entry["action"] == "alloc":
                born[entry["addr"]] = len(events)
                allocations.append(len(events))
                events.append((entry["size"], stacks.number(entry.get("frames") or [])))
            elif entry["action"] == "free_requested":
                birth = born.pop(entry["addr"], -1)
                events.append((-(events[birth][0] if birth >= 0 else entry["size"]), birth))
        allocations.append(len(events))
        return events, stacks.known, [allocations[count] for count in self._num_allocs]


class CpuHistory:
    """The CPU allocator's history, from the profiler; what is marked is found by the time of the mark."""

    def __init__(self) -> None:
        self._marks: list[int] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            yield
        found = [(e.start_ns(), e.nbytes(), e.name()) for e in recorded.profiler.kineto_results.events()]
        self._found = sorted(each for each in found if each[2] in ("[memory]", "mark"))

    def mark(self) -> None:
        with torch.profiler.record_function("mark"):
            pass

    def events(self) -> tuple[list[tuple[int, int]], list[list[str]], list[int]]:
        events: list[tuple[int, int]] = []
        ends = []
        for _, size, name in self._found:
            if name == "mark":
                ends.append(len(events))
            else:
                events.append((size, 0 if size > 0 else -1))
        return events, [[]], ends


class _Stacks:
    """Equal stacks once."""

    def __init__(self) -> None:
        self.known: list[list[str]] = [[]]
        self._numbers: dict[tuple[str, ...], int] = {(): 0}
        self._by_object: dict[int, int] = {}

    def number(self, frames: list[dict[str, Any]]) -> int:
        if id(frames) not in self._by_object:
            lines = tuple(_line(frame) for frame in frames[:MAX_FRAMES])
            if lines not in self._numbers:
                self._numbers[lines] = len(self.known)
                self.known.append(list(lines))
            self._by_object[id(frames)] = self._numbers[lines]
        return self._by_object[id(frames)]


def _line(frame: dict[str, Any]) -> str:
    return f"{Path(frame['filename']).name}:{frame['line']} {frame['name']}"


def record(workload: GpuWorkload, *, device: torch.device, used_before_bytes: int | None) -> Truth:
    """Build the workload and take NUM_STEPS steps. `used_before_bytes` is what the device had in use beforehand."""
    begin = time.perf_counter()
    used = {"before": used_before_bytes, "context": _used_with_context() if device.type == "cuda" else None}

    def used_at_end() -> None:
        used["end"] = device_used_bytes() if device.type == "cuda" else None

    recorded = _recorded(lambda: _built(workload, device), device, num_steps=NUM_STEPS, on_end=used_at_end)
    return Truth(
        name=workload.name,
        split=workload.split,
        machine=this_machine(device),
        events=recorded.events,
        stacks=recorded.stacks,
        ends=recorded.ends,
        stats=recorded.stats,
        used_bytes=used,
        duration_s=time.perf_counter() - begin,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseTruth:
    """What a single layer asked for: as in a Truth; `told` is what each step said it chose, `error` why there is no more."""

    group: str
    name: str
    machine: Machine
    events: list[tuple[int, int]] = field(default_factory=list)
    stacks: list[list[str]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    stats: list[dict[str, int]] = field(default_factory=list)
    told: list[str | None] = field(default_factory=list)
    error: str | None = None


def record_case(case: Case, device: torch.device, *, group: str) -> CaseTruth:
    """Take CASE_STEPS steps of a layer, listed under a group; what it raises is part of the truth."""
    machine, told = this_machine(device), list[str | None]()

    def prepared() -> Callable[[], object]:
        step = case.prepare(device)
        return lambda: told.append(step())

    try:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        found = _recorded(prepared, device, num_steps=CASE_STEPS)
    except Exception as error:  # a kernel that refuses, or memory that does not suffice
        message = f"{type(error).__name__}: {error}".partition("\n")[0]
        return CaseTruth(group=group, name=case.name, machine=machine, told=told, error=message)
    return CaseTruth(
        group=group,
        name=case.name,
        machine=machine,
        events=found.events,
        stacks=found.stacks,
        ends=found.ends,
        stats=found.stats,
        told=told,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recorded:
    events: list[tuple[int, int]]
    stacks: list[list[str]]
    ends: list[int]
    stats: list[dict[str, int]]


def _recorded(
    make: Callable[[], Callable[[], object]],
    device: torch.device,
    *,
    num_steps: int,
    on_end: Callable[[], None] = lambda: None,
) -> _Recorded:
    """The allocator's history while a step is made, and taken so many times."""
    is_cuda = device.type == "cuda"
    history: History = CudaHistory() if is_cuda else CpuHistory()
    stats: list[dict[str, int]] = []

    def ended() -> None:
        history.mark()
        if is_cuda:
            stats.append(dict(torch.cuda.memory_stats()))

    with history.recording():
        step = make()
        ended()
        for _ in range(num_steps):
            step()
            ended()
        on_end()
    events, stacks, ends = history.events()
    return _Recorded(events=events, stacks=stacks, ends=ends, stats=stats)


def _built(workload: GpuWorkload, device: torch.device) -> Step:
    built = from_callable(workload.build, params={}).build(seed=0, device=device)
    place(built, device)
    return make_step(built, device, Batches(built.train_loader))


def _used_with_context() -> int | None:
    torch.cuda.init()
    torch.cuda.mem_get_info()
    return device_used_bytes()


def this_machine(device: torch.device) -> Machine:
    """Versions and, on CUDA, the GPU and its driver."""
    if device.type != "cuda":
        return Machine(torch=torch.__version__)
    properties = torch.cuda.get_device_properties(device)
    return Machine(
        torch=torch.__version__,
        gpu=properties.name,
        capability=(properties.major, properties.minor),
        total_bytes=properties.total_memory,
        driver=_ask_nvidia_smi("driver_version"),
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
    )


def device_used_bytes() -> int | None:
    """Memory in use on the first GPU, by all processes, as the driver tells it in MiB; None where it does not."""
    told = _ask_nvidia_smi("memory.used")
    return int(told) * MIB if told is not None and told.isdecimal() else None


def _ask_nvidia_smi(field: str) -> str | None:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()


def write_truth(folder: Path, truth: Truth) -> Path:
    """Store a truth as NAME.json.gz, whole or not at all."""
    return _written(folder / f"{truth.name}.json.gz", truth)


def case_path(folder: Path, group: str, name: str) -> Path:
    """Where the truth of a layer lies."""
    return folder / group / f"{name}.json.gz"


def write_case(folder: Path, truth: CaseTruth) -> Path:
    """Store what a layer took, whole or not at all."""
    path = case_path(folder, truth.group, truth.name)
    path.parent.mkdir(exist_ok=True)
    return _written(path, truth)


def _written(path: Path, truth: Truth | CaseTruth) -> Path:
    write_file(path, gzip.compress(json.dumps(asdict(truth), separators=(",", ":")).encode(), mtime=0))
    return path


def read_truth(path: Path) -> Truth:
    """The truth that `write_truth` stored."""
    return Truth(**_fields(path))


def read_case(path: Path) -> CaseTruth:
    """What `write_case` stored."""
    return CaseTruth(**_fields(path))


def _fields(path: Path) -> dict[str, Any]:
    fields = json.loads(gzip.decompress(path.read_bytes()))
    capability = fields["machine"].pop("capability")
    machine = Machine(**fields["machine"], capability=None if capability is None else (capability[0], capability[1]))
    return {**fields, "machine": machine, "events": [(size, stack) for size, stack in fields["events"]]}
