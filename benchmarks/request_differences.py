"""Which requests of a real run a traced trace lacks, and which it has too many: compared in order, by their sizes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from lrtool.memory.trace.allocation_trace import AllocationTrace, Op

SMALLEST_BYTES = 512
"""Smaller requests are counters and scalars inside kernels; they use 512 B each and are not listed."""
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a real run asked for; `place` is a stack from the inside out, or a part of one."""

    size_bytes: int
    place: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Requests of one size that only one side makes; `operator` is the traced one there, or the next after."""

    is_missing: bool
    operator: str
    size_bytes: int
    place: tuple[str, ...]
    count: int


def differences(true: Iterable[Request], traced: Iterable[tuple[int, str]]) -> list[Difference]:
    """What one side asks for and the other does not, most bytes first; `traced` are (bytes, operator)."""
    real = [each for each in true if each.size_bytes >= SMALLEST_BYTES]
    made = [each for each in traced if each[0] >= SMALLEST_BYTES]
    found: Counter[tuple[bool, str, int, tuple[str, ...]]] = Counter()
    matcher = SequenceMatcher(None, [each.size_bytes for each in real], [size for size, _ in made], autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            continue
        beside = made[min(k, len(made) - 1)][1] if made else "nothing"
        found.update((True, beside, each.size_bytes, each.place) for each in real[i:j])
        found.update((False, operator, size, ()) for size, operator in made[k:m])
    listed = sorted(found.items(), key=lambda each: -each[0][2] * each[1])
    return [
        Difference(is_missing=is_missing, operator=operator, size_bytes=size, place=place, count=count)
        for (is_missing, operator, size, place), count in listed
    ]


def traced_requests(trace: AllocationTrace, *, last_step_only: bool) -> list[tuple[int, str]]:
    """(bytes, operator) of each allocation of a traced trace, or of its last step."""
    begin = max(index for index, op in enumerate(trace.ops) if op == Op.STEP) if last_step_only else 0
    return [
        (trace.values[index], _operator(trace, index))
        for index in range(begin, len(trace.ops))
        if trace.ops[index] == Op.ALLOC
    ]


def _operator(trace: AllocationTrace, index: int) -> str:
    note = trace.note(index)
    return (note.operator if note else None) or UNKNOWN


def by_operator(found: Iterable[Sequence[Difference]]) -> list[tuple[str, str, int, int]]:
    """(operator, "lacks" or "too many", requests, bytes) over all workloads, most bytes first."""
    requests: Counter[tuple[str, str]] = Counter()
    num_bytes: Counter[tuple[str, str]] = Counter()
    for each in (difference for differences in found for difference in differences):
        key = (each.operator, "lacks" if each.is_missing else "too many")
        requests[key] += each.count
        num_bytes[key] += each.count * each.size_bytes
    return [(*key, requests[key], total) for key, total in num_bytes.most_common()]
