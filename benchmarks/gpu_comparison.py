"""Holds a recorded truth against lrtool's prediction: errors of the peaks, and which requests the trace lacks or invents."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from benchmarks.gpu_recording import NUM_STEPS, Truth
from benchmarks.gpu_workloads import find_workload
from lrtool.memory.allocator_versions import TorchVersion
from lrtool.memory.cards import CONTEXT_BYTES
from lrtool.memory.fake_cuda import FakeGpu
from lrtool.memory.hidden_costs import Platform
from lrtool.memory.metrics import Peaks, fragmentation_ratio, peaks
from lrtool.memory.replay import Scenario, replay
from lrtool.memory.stream import AllocationStream, Op
from lrtool.memory.stream_builder import StreamBuilder
from lrtool.memory.tracer import TraceSettings, trace
from lrtool.target import from_callable

SMALLEST_BYTES = 512
"""Smaller requests are counters and scalars inside kernels; they take 512 B each and are not listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Requests of one size that only one side makes, in one step; `operator` is the traced one there, or the next after."""

    is_missing: bool
    operator: str
    size_bytes: int
    stack: tuple[str, ...]
    count: int


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
    stream, scenario = predicted_stream(truth), Scenario(version=torch_version(truth))
    # torch's own peaks cover the whole run; on a CPU there are none, and the allocator is simulated
    measured = peaks(truth.stats[-1]) if truth.stats else replay(true_stream(truth), scenario).peaks
    return Comparison(
        truth=truth,
        measured=measured,
        predicted=replay(stream, scenario).peaks,
        other_bytes=_other_bytes(truth),
        differences=tuple(_differences(truth, stream)),
    )


def torch_version(truth: Truth) -> TorchVersion:
    major, minor = truth.machine.torch.split(".")[:2]
    return TorchVersion(int(major), int(minor))


def predicted_stream(truth: Truth) -> AllocationStream:
    """The stream that lrtool traces for a recorded workload, for the GPU and the torch it was recorded with."""
    machine = truth.machine
    factory = from_callable(find_workload(truth.name).build, params={})
    if machine.capability is None:
        return trace(factory, TraceSettings(num_steps=NUM_STEPS, kind="cpu", until_steady=False)).stream
    version = torch_version(truth)
    gpu = FakeGpu(
        capability=machine.capability,
        total_bytes=machine.total_bytes or FakeGpu().total_bytes,
        cudnn_version=machine.cudnn or FakeGpu().cudnn_version,
    )
    platform = Platform(capability=machine.capability, torch_version=(version.major, version.minor))
    settings = TraceSettings(num_steps=NUM_STEPS, gpu=gpu, until_steady=False, platform=platform)
    return trace(factory, settings).stream


def true_stream(truth: Truth) -> AllocationStream:
    """The recorded events as an allocation stream; where a free does not say of what, the oldest of its size is meant."""
    builder = StreamBuilder(truth.name)
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
    """What the process takes of the device beside the allocator's segments, at the end."""
    before, end = truth.used_bytes["before"], truth.used_bytes["end"]
    if before is None or end is None or not truth.stats:
        return None
    return end - before - truth.stats[-1]["reserved_bytes.all.current"]


def _differences(truth: Truth, stream: AllocationStream) -> Iterator[Difference]:
    """Of the last step, which is a steady one: what one side allocates and the other does not, most bytes first."""
    begin, end = truth.ends[-2:]
    true = [(size, stack) for size, stack in truth.events[begin:end] if size >= SMALLEST_BYTES]
    made = [each for each in _last_step(stream) if each[0] >= SMALLEST_BYTES]
    found: Counter[tuple[bool, str, int, int]] = Counter()
    matcher = SequenceMatcher(None, [size for size, _ in true], [size for size, _ in made], autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            continue
        beside = made[min(k, len(made) - 1)][1] if made else "nothing"
        found.update((True, beside, size, stack) for size, stack in true[i:j])
        found.update((False, operator, size, 0) for size, operator in made[k:m])
    for (is_missing, operator, size, stack), count in sorted(found.items(), key=lambda each: -each[0][2] * each[1]):
        yield Difference(
            is_missing=is_missing,
            operator=operator,
            size_bytes=size,
            stack=tuple(truth.stacks[stack][:4]),
            count=count,
        )


def _last_step(stream: AllocationStream) -> list[tuple[int, str]]:
    """(bytes, operator) of each allocation of the last step."""
    begin = max(index for index, op in enumerate(stream.ops) if op == Op.STEP)
    return [
        (stream.values[index], stream.note(index).operator or "unknown")
        for index in range(begin, len(stream.ops))
        if stream.ops[index] == Op.ALLOC
    ]


def missing_by_operator(comparisons: Iterable[Comparison]) -> list[tuple[str, str, int, int]]:
    """(operator, "lacks" or "too many", requests, bytes) over all workloads, most bytes first."""
    requests: Counter[tuple[str, str]] = Counter()
    num_bytes: Counter[tuple[str, str]] = Counter()
    for comparison in comparisons:
        for each in comparison.differences:
            key = (each.operator, "lacks" if each.is_missing else "too many")
            requests[key] += each.count
            num_bytes[key] += each.count * each.size_bytes
    return [(*key, requests[key], total) for key, total in num_bytes.most_common()]
