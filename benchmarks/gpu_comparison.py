"""Holds a recorded truth against lrtool's prediction: errors of the peaks, and which requests the trace lacks or invents."""

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.gpu_recording import NUM_STEPS, Truth
from benchmarks.gpu_workloads import find_workload
from benchmarks.request_differences import Difference, Request, by_operator, differences, traced_requests
from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.gpus import CONTEXT_BYTES
from lrtool.memory.metrics import Peaks, fragmentation_ratio, peaks
from lrtool.memory.replay.replay import Scenario, replay
from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from lrtool.memory.trace.builder import TraceBuilder
from lrtool.tracing.fake_cuda.gpu import FakeGpu
from lrtool.tracing.tracer.tracer import TraceSettings, trace
from lrtool.tracing.workspaces.platform import Platform
from lrtool.workload.target import from_callable

MAX_PLACES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One workload: peaks in bytes as measured and as predicted, and what is not torch's on the device."""

    truth: Truth
    measured: Peaks
    predicted: Peaks
    other_bytes: int | None
    differences: tuple[Difference, ...]

    def errors(self) -> dict[str, float]:
        """Signed relative errors of the peaks; of fragmentation the difference."""
        names = ("allocated_bytes", "active_bytes", "reserved_bytes")
        found = {name: getattr(self.predicted, name) / getattr(self.measured, name) - 1 for name in names}
        return {**found, "fragmentation": _fragmentation(self.predicted) - _fragmentation(self.measured)}

    @property
    def other_error(self) -> float | None:
        """Of the context, as lrtool assumes it."""
        return None if not self.other_bytes else CONTEXT_BYTES / self.other_bytes - 1


def compare(truth: Truth) -> Comparison:
    """Trace the same workload for the same GPU and torch, replay, and compare."""
    trace, scenario = predicted_trace(truth), Scenario(version=torch_version(truth))
    # torch's own peaks cover the whole run; on a CPU there are none, and the allocator is simulated
    measured = peaks(truth.stats[-1]) if truth.stats else replay(true_trace(truth), scenario).peaks
    return Comparison(
        truth=truth,
        measured=measured,
        predicted=replay(trace, scenario).peaks,
        other_bytes=_other_bytes(truth),
        differences=tuple(_differences(truth, trace)),
    )


def torch_version(truth: Truth) -> TorchVersion:
    major, minor = truth.machine.torch.split(".")[:2]
    return TorchVersion(int(major), int(minor))


def predicted_trace(truth: Truth) -> AllocationTrace:
    """The trace that lrtool traces for a recorded workload, for the GPU and the torch it was recorded with."""
    machine = truth.machine
    factory = from_callable(find_workload(truth.name).build, params={})
    if machine.capability is None:
        return trace(factory, TraceSettings(num_steps=NUM_STEPS, kind="cpu", until_steady=False)).trace
    version = torch_version(truth)
    gpu = FakeGpu(
        capability=machine.capability,
        total_bytes=machine.total_bytes or FakeGpu().total_bytes,
        cudnn_version=machine.cudnn or FakeGpu().cudnn_version,
    )
    platform = Platform(capability=machine.capability, torch_version=(version.major, version.minor))
    settings = TraceSettings(num_steps=NUM_STEPS, gpu=gpu, until_steady=False, platform=platform)
    return trace(factory, settings).trace


def true_trace(truth: Truth) -> AllocationTrace:
    """The recorded events as an allocation trace; where a free does not say of what, the oldest of its size is meant."""
    builder = TraceBuilder(truth.name)
    live: dict[int, list[int]] = {}
    for index, (size, link) in enumerate(truth.events):
        if index in truth.ends[:-1]:
            builder.call(Op.STEP)
        if size > 0:
            live.setdefault(size, []).append(index)
            builder.alloc(index, size)
        elif link in live.get(-size, ()):
            live[-size].remove(link)
            builder.free(link)
        elif link < 0 and live.get(-size):
            builder.free(live[-size].pop(0))
    return builder.build()


def _fragmentation(peaks: Peaks) -> float:
    return fragmentation_ratio(peaks.active_bytes, peaks.reserved_bytes) or 0.0


def _other_bytes(truth: Truth) -> int | None:
    """What the process uses of the device beside the allocator's segments, at the end."""
    before, end = truth.used_bytes["before"], truth.used_bytes["end"]
    if before is None or end is None or not truth.stats:
        return None
    return end - before - truth.stats[-1]["reserved_bytes.all.current"]


def _differences(truth: Truth, trace: AllocationTrace) -> list[Difference]:
    """Of the last step, which is a steady one."""
    begin, end = truth.ends[-2:]
    true = (
        Request(size_bytes=size, place=tuple(truth.stacks[stack][:MAX_PLACES]))
        for size, stack in truth.events[begin:end]
        if size > 0
    )
    return differences(true, traced_requests(trace, last_step_only=True))


def missing_by_operator(comparisons: Iterable[Comparison]) -> list[tuple[str, str, int, int]]:
    """(operator, "lacks" or "too many", requests, bytes) over all workloads, most bytes first."""
    return by_operator(comparison.differences for comparison in comparisons)
