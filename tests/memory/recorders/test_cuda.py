"""The recorder on a GPU: held against a source of figures that is known, and, where there is one, against torch's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from lrtool.errors import WorkloadError
from lrtool.memory.gpus import CONTEXT_BYTES
from lrtool.memory.recorders.choose import choose_recorder
from lrtool.memory.recorders.cuda import GpuRecorder, largest_free_bytes, record_on_gpu, run_recorded
from lrtool.memory.recorders.recording import RecordSettings
from lrtool.workload.target import load
from tests import WORKLOADS

GIB = 2**30


@dataclass
class KnownGpu:
    """A GPU whose memory a test moves by hand, with the peaks as torch keeps them; it counts the calls made."""

    allocated: int = 0
    peak: int = 0
    reserved: int = 0
    others: int = 3 * GIB
    calls: int = 0
    history: list[bool] = field(default_factory=list)

    def use(self, *levels: int) -> None:
        """Go through these levels of allocated bytes."""
        for level in levels:
            self.allocated, self.peak = level, max(self.peak, level)
            self.reserved = max(self.reserved, level)

    def statistics(self) -> Mapping[str, Any]:
        self.calls += 1
        used = {"all": {"current": self.allocated, "peak": self.peak}}
        held = {"all": {"current": self.reserved, "peak": self.reserved}}
        free = {"all": {"current": self.reserved - self.allocated, "peak": self.reserved}}
        names = ("allocated_bytes", "active_bytes", "requested_bytes")
        return dict.fromkeys(names, used) | {
            "reserved_bytes": held, "inactive_split_bytes": free, "num_alloc_retries": 2, "num_device_alloc": 7
        }  # fmt: skip

    def reset_peaks(self) -> None:
        self.peak = self.allocated

    def free_and_total_bytes(self) -> tuple[int, int]:
        return 24 * GIB - self.reserved - self.others - CONTEXT_BYTES, 24 * GIB

    def record_history(self, is_on: bool) -> None:
        self.history.append(is_on)

    def dump_snapshot(self, path: Path) -> int:
        path.write_text("snapshot")
        return self.reserved - self.allocated - 10


def steps_of(gpu: KnownGpu, *steps: tuple[int, ...]) -> Callable[[], Callable[[], torch.Tensor]]:
    """A build that takes 50 bytes, and steps that go through the given levels."""
    levels = iter(steps)

    def step() -> torch.Tensor:
        gpu.use(*next(levels))
        return torch.zeros(())

    def build() -> Callable[[], torch.Tensor]:
        gpu.use(90, 50)
        return step

    return build


def test_each_step_has_its_own_peak_and_the_run_keeps_the_highest() -> None:
    gpu = KnownGpu()
    recording = run_recorded(GpuRecorder(gpu), steps_of(gpu, (200, 60), (400, 60), (300, 70)), num_steps=3)

    assert recording.series.peak_allocated_bytes == (200, 400, 300)
    assert recording.series.allocated_bytes == (60, 60, 70)
    assert recording.series.reserved_bytes == (200, 400, 400)
    assert recording.peaks is not None
    assert (recording.peaks.allocated_bytes, recording.peaks.reserved_bytes) == (400, 400)


def test_what_building_took_is_part_of_the_runs_peak_only() -> None:
    gpu = KnownGpu()
    recording = run_recorded(GpuRecorder(gpu), steps_of(gpu, (60,)), num_steps=1)

    assert recording.series.peak_allocated_bytes == (60,)
    assert recording.peaks is not None
    assert recording.peaks.allocated_bytes == 90


def test_a_step_costs_one_call_for_its_figures() -> None:
    gpu = KnownGpu()
    run_recorded(GpuRecorder(gpu), steps_of(gpu, *[(60,)] * 100), num_steps=100)

    assert gpu.calls <= 100 + 4


def test_what_other_processes_hold_is_told() -> None:
    gpu = KnownGpu(others=5 * GIB)
    recording = run_recorded(GpuRecorder(gpu), steps_of(gpu, (60,)), num_steps=1)

    assert recording.other_processes_bytes == 5 * GIB
    assert recording.capacity_bytes == 19 * GIB - CONTEXT_BYTES


def test_history_is_recorded_for_the_chosen_steps_alone(tmp_path: Path) -> None:
    gpu = KnownGpu()
    recorder = GpuRecorder(gpu, history=(2,), folder=tmp_path)
    run_recorded(recorder, steps_of(gpu, (60,), (60,), (60,)), num_steps=3)

    assert gpu.history == [True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["step-2.pickle"]


def test_the_largest_free_block_is_known_where_most_was_reserved_and_a_snapshot_kept(tmp_path: Path) -> None:
    def at_peak(*history: int) -> tuple[int, int | None]:
        gpu = KnownGpu()
        recorder = GpuRecorder(gpu, history=history, folder=tmp_path)
        moment = run_recorded(recorder, steps_of(gpu, (200, 60), (400, 70), (400, 80)), num_steps=3).at_peak
        assert moment is not None
        return moment.free_bytes, moment.largest_free_bytes

    assert at_peak(2) == (330, 320)
    assert at_peak(2, 3) == (320, 310)
    assert at_peak(1) == (320, None), "most was reserved later"
    assert at_peak() == (320, None)


def test_the_largest_free_block_of_a_snapshot() -> None:
    small = {"blocks": [{"size": 512, "state": "inactive"}, {"size": 4096, "state": "active_allocated"}]}
    large = {"blocks": [{"size": 2048, "state": "inactive"}, {"size": 9999, "state": "active_pending_free"}]}

    assert largest_free_bytes([small, large]) == 2048
    assert largest_free_bytes([]) == 0


def test_out_of_memory_keeps_a_snapshot_and_what_was_recorded(tmp_path: Path) -> None:
    gpu = KnownGpu()
    count = iter(range(9))

    def step() -> torch.Tensor:
        if next(count) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ...")
        gpu.use(60)
        return torch.zeros(())

    recording = run_recorded(GpuRecorder(gpu, folder=tmp_path), lambda: step, num_steps=9)

    assert recording.death is not None
    assert (recording.death.step, recording.death.request_bytes) == (3, 5 * GIB // 2)
    assert len(recording.series.allocated_bytes) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out-of-memory.pickle"]
    assert recording.error is None


def test_what_the_user_raises_is_an_error_and_not_out_of_memory() -> None:
    def step() -> torch.Tensor:
        raise ValueError("the data went bad")

    recording = run_recorded(GpuRecorder(KnownGpu()), lambda: step, num_steps=9)

    assert recording.death is None
    assert isinstance(recording.error, WorkloadError)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_the_memory_is_predicted_and_the_reason_said() -> None:
    choice = choose_recorder("auto", device="auto")

    assert choice.recorder in ("predicted", "cpu")
    assert choice.reason.startswith("no CUDA device here")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_figures_are_those_of_torch() -> None:
    settings = RecordSettings(recorder="cuda", num_steps=5, seed=0)
    recording = record_on_gpu(load(str(WORKLOADS / "good.py")), settings)
    stats = torch.cuda.memory_stats()

    assert recording.peaks is not None
    assert recording.peaks.reserved_bytes >= stats["reserved_bytes.all.current"]
    assert recording.peaks.allocated_bytes == max(
        recording.peaks.allocated_bytes, *recording.series.peak_allocated_bytes
    )  # fmt: skip
    assert recording.series.allocated_bytes[-1] > 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_prediction_is_what_the_gpu_takes() -> None:
    from lrtool.memory.recorders.predicted import record_traced

    factory = load(str(WORKLOADS / "good.py"), params={"width": 512})
    measured = record_on_gpu(factory, RecordSettings(recorder="cuda", num_steps=5, seed=0))
    predicted = record_traced(factory, RecordSettings(recorder="predicted", num_steps=5, seed=0))

    assert measured.peaks is not None
    assert predicted.peaks is not None
    assert predicted.peaks.allocated_bytes == pytest.approx(measured.peaks.allocated_bytes, rel=0.05)
