"""The live recorder on a GPU: one call for all of the allocator's statistics a step, and a snapshot where memory runs out.

Each step's peak is read and then reset, so the peaks of the whole run are kept here, not by torch.
"""

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from lrtool.errors import LrtoolError
from lrtool.memory.gpus import CONTEXT_BYTES
from lrtool.memory.metrics import Moment, Peaks
from lrtool.memory.recorders.recording import Recording, RecordSettings, StepColumns
from lrtool.results import TrialOom
from lrtool.units import parse_bytes
from lrtool.workload.batches import Batches, LoaderEnded
from lrtool.workload.devices import pick_device, place
from lrtool.workload.step import Step, make_step, with_scheduler
from lrtool.workload.target import Factory
from lrtool.workload.user_code import is_out_of_memory, user_code

MAX_HISTORY_EVENTS = 1_000_000
_TRIED = re.compile(r"Tried to allocate ([\d.]+ \w+)")
_PEAKS = ("allocated_bytes", "reserved_bytes", "active_bytes", "requested_bytes")


class GpuMemory(Protocol):
    """What the recorder asks of a GPU."""

    def statistics(self) -> Mapping[str, Any]:
        """torch.cuda.memory_stats, nested."""

    def reset_peaks(self) -> None: ...

    def free_and_total_bytes(self) -> tuple[int, int]:
        """Of the whole device."""

    def record_history(self, is_on: bool) -> None: ...

    def dump_snapshot(self, path: Path) -> int:
        """Write torch's snapshot of this moment; returns the bytes of the largest free block in it."""


@dataclass(frozen=True, slots=True)
class TorchGpuMemory:
    """The memory of a real GPU, as torch tells it."""

    device: torch.device

    def statistics(self) -> Mapping[str, Any]:
        return torch.cuda.memory_stats_as_nested_dict(self.device)

    def reset_peaks(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def free_and_total_bytes(self) -> tuple[int, int]:
        return torch.cuda.mem_get_info(self.device)

    def record_history(self, is_on: bool) -> None:
        torch.cuda.memory._record_memory_history("all" if is_on else None, max_entries=MAX_HISTORY_EVENTS)

    def dump_snapshot(self, path: Path) -> int:
        snapshot = torch.cuda.memory._snapshot()
        with path.open("wb") as file:
            pickle.dump(snapshot, file)
        return largest_free_bytes(segment for segment in snapshot["segments"] if segment["device"] == self.device.index)


class GpuRecorder:
    """Follows the steps of a run on one GPU."""

    def __init__(self, memory: GpuMemory, *, history: tuple[int, ...] = (), folder: Path | None = None) -> None:
        self._memory = memory
        self._history, self._folder = frozenset(history), folder
        self._columns = StepColumns()
        self._peaks = dict.fromkeys(_PEAKS, 0)
        self._at_peak: Moment | None = None
        self._is_built = False

    def step_begins(self) -> None:
        if self._is_chosen():
            self._memory.record_history(True)

    def step_ended(self) -> None:
        """Read the step's figures, and let the next one's peak begin anew."""
        largest = None
        if self._is_chosen():
            largest = self._keep_snapshot(f"step-{len(self._columns) + 1}.pickle")
            self._memory.record_history(False)
        stats = self._look(largest)
        self._columns.append(
            **_current(stats),
            peak_allocated_bytes=stats["allocated_bytes"]["all"]["peak"],
            num_alloc_retries=stats["num_alloc_retries"],
            num_device_allocs=stats["num_device_alloc"],
        )
        self._memory.reset_peaks()

    def build_ended(self) -> None:
        """What building the workload used counts for the run's peaks, and for no step's."""
        self._is_built = True
        self._look()
        self._memory.reset_peaks()

    def ran_out(self, error: BaseException) -> TrialOom:
        """Keep a snapshot of how memory stood, and tell where."""
        self._look(self._keep_snapshot("out-of-memory.pickle"))
        tried = _TRIED.search(str(error))
        return TrialOom(
            step=len(self._columns) + 1 if self._is_built else 0,
            request_bytes=None if tried is None else parse_bytes(tried[1]),
            cause=None,
            source=_last_line(error),
        )

    def recording(self, *, oom: TrialOom | None, error: BaseException | None, note: str | None) -> Recording:
        """All that was recorded; free memory is asked of the device once, now."""
        self._look()
        free, total = self._memory.free_and_total_bytes()
        reserved = self._memory.statistics()["reserved_bytes"]["all"]["current"]
        others = max(0, total - free - reserved - CONTEXT_BYTES)
        return Recording(
            series=self._columns.series(),
            peaks=Peaks(**self._peaks),
            at_peak=self._at_peak,
            death=oom,
            error=error,
            note=note,
            other_processes_bytes=others,
            capacity_bytes=max(0, total - CONTEXT_BYTES - others),
        )

    def _look(self, largest_free_bytes: int | None = None) -> Mapping[str, Any]:
        stats = self._memory.statistics()
        for name, highest in self._peaks.items():
            self._peaks[name] = max(highest, stats[name]["all"]["peak"])
        now = Moment(**_current(stats), largest_free_bytes=largest_free_bytes)
        if self._at_peak is None or _rank(now) >= _rank(self._at_peak):
            self._at_peak = now
        return stats

    def _is_chosen(self) -> bool:
        return len(self._columns) + 1 in self._history

    def _keep_snapshot(self, name: str) -> int | None:
        """The bytes of its largest free block; None where there is no snapshot."""
        if self._folder is not None:
            with suppress(OSError):  # a full disk must not end what it only looks at
                return self._memory.dump_snapshot(self._folder / name)
        return None


def largest_free_bytes(segments: Iterable[Mapping[str, Any]]) -> int:
    """The largest free block in the segments of a snapshot of torch."""
    blocks = (block for segment in segments for block in segment["blocks"])
    return max((block["size"] for block in blocks if block["state"] == "inactive"), default=0)


def _rank(moment: Moment) -> tuple[int, bool]:
    """Most reserved comes first, and of such moments those that a snapshot tells more of."""
    return moment.reserved_bytes, moment.largest_free_bytes is not None


def _current(stats: Mapping[str, Any]) -> dict[str, int]:
    return {name: stats[name]["all"]["current"] for name in (*_PEAKS, "inactive_split_bytes")}


def record_on_gpu(factory: Factory, settings: RecordSettings) -> Recording:
    """Run all steps of a trial on the GPU."""
    device = pick_device("cuda" if settings.device == "auto" else settings.device)
    torch.cuda.init()
    torch.cuda.set_device(device)
    memory = TorchGpuMemory(device)
    if settings.capacity_bytes is not None:
        _, total = memory.free_and_total_bytes()
        torch.cuda.set_per_process_memory_fraction(min(1.0, settings.capacity_bytes / total), device)
    recorder = GpuRecorder(memory, history=settings.history, folder=settings.folder)
    return run_recorded(recorder, lambda: _built(factory, settings.seed, device), num_steps=settings.num_steps)


def run_recorded(recorder: GpuRecorder, build: Callable[[], Step], *, num_steps: int) -> Recording:
    """Build and take the steps of a trial under `recorder`; whatever raises is part of the recording."""
    oom: TrialOom | None = None
    error: BaseException | None = None
    note: str | None = None
    try:
        step = build()
        recorder.build_ended()
        for _ in range(num_steps):
            recorder.step_begins()
            with user_code("the training step"):
                step()
            recorder.step_ended()
    except LoaderEnded as ended:
        note = ended.message
    except (LrtoolError, KeyboardInterrupt) as raised:
        if is_out_of_memory(raised.__cause__ or raised):
            oom = recorder.ran_out(raised.__cause__ or raised)
        else:
            error = raised
    return recorder.recording(oom=oom, error=error, note=note)


def _built(factory: Factory, seed: int, device: torch.device) -> Step:
    workload = factory.build(seed=seed, device=device)
    with user_code("moving the model to its device"):
        place(workload, device)
    return with_scheduler(make_step(workload, device, Batches(workload.train_loader)), workload.scheduler)


def _last_line(error: BaseException) -> str | None:
    """`file.py:line` of the user's innermost frame."""
    from lrtool.workload.user_code import user_frames

    found = re.findall(r'File "(.+?)", line (\d+)', user_frames(error) or "")
    return f"{Path(found[-1][0]).name}:{found[-1][1]}" if found else None
