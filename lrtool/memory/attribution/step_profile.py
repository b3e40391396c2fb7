"""What a trace shows of each step beyond its size: which phase peaks, what is live there, and what is left behind.

Pure: one walk over the stored requests and their notes. Bytes are those requested; the allocator's rounding is not in them.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from lrtool.memory.trace.allocation_trace import AllocationTrace, Note, Op
from lrtool.memory.trace.live import walk
from lrtool.results import AFTER_UPDATE, Category

HALF = 2
OWNED = frozenset(Category) - {Category.ACTIVATION, Category.TEMPORARY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Bytes and storages of one line that were born in a step and are live at the end of the second step after it."""

    source: str | None
    phase: str
    operator: str | None
    is_evaluation: bool
    num_storages: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProfile:
    """One step; the first profile is the build's. Bytes.

    `at_peak` and `at_end` are by category. `early_gradient_bytes` are gradients live as the step's forward begins, and
    `new_gradient_bytes` those that the step makes: none where the same ones are filled with zeros.
    `optimizer_temporary_bytes` is the most that was live of what the optimizer's step itself made and dropped,
    `evaluation_graph_bytes` the most live of what a forward pass without backward saved with gradients on.
    `weight_copy_bytes` are half-precision copies of weights at the step's peak, and kept ones at its end;
    `state_copy_bytes` copies of parameters by one line, `state_copy_source`, each parameter counted once, and
    `live_copy_bytes` the most of that line's copies that were live at once, those of earlier steps among them.
    """

    num_requests: int
    input_bytes: int
    peak_bytes: int
    peak_phase: str | None
    at_peak: dict[str, int]
    at_end: dict[str, int]
    early_gradient_bytes: int
    new_gradient_bytes: int
    optimizer_temporary_bytes: int
    evaluation_graph_bytes: int
    evaluation_source: str | None
    weight_copy_bytes: int
    kept_weight_copy_bytes: int
    state_copy_bytes: int
    state_copy_source: str | None
    live_copy_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Origin:
    source: str | None
    phase: str
    operator: str | None
    is_evaluation: bool


@dataclass(slots=True)
class _Step:
    """The step that is being walked: the stored requests `start` to `stop` (excluded).

    `last_backward` is the request that its last backward pass or optimizer step made; past its end where there is none.
    """

    number: int
    start: int
    stop: int
    last_backward: int
    input_bytes: int = 0
    peak_bytes: int = 0
    peak_phase: str | None = None
    at_peak: dict[str, int] = field(default_factory=dict)
    early_gradient_bytes: int | None = None
    new_gradient_bytes: int = 0
    optimizer_bytes: int = 0
    optimizer_temporary_bytes: int = 0
    evaluation_bytes: int = 0
    evaluation_graph_bytes: int = 0
    evaluation_source: str | None = None
    weight_copy_bytes: int = 0
    copies: dict[str | None, Counter[int]] = field(default_factory=dict)
    live_copies: Counter[str | None] = field(default_factory=Counter)


def profile_steps(trace: AllocationTrace) -> tuple[StepProfile, ...]:
    """A profile of the build and of every stored step; steps that are repeated stand once."""
    return tuple(_Profiler(trace).profiles())


def leftovers(trace: AllocationTrace) -> tuple[Leftover, ...]:
    """What lines left behind, per step: storages of the third-last stored step that are still live, most bytes first."""
    steps = _steps(trace)
    return _left_behind(trace, steps[-3]) if len(steps) >= 5 else ()


def _left_behind(trace: AllocationTrace, step: _Step) -> tuple[Leftover, ...]:
    walked = walk(trace)
    found: Counter[_Origin] = Counter()
    counts: Counter[_Origin] = Counter()
    for request in walked.requests[walked.live_after()].tolist():
        note = trace.note(request)
        if step.start <= request < step.stop and note.category not in OWNED:
            origin = _Origin(note.source, note.phase or "forward", note.operator, _is_evaluation(note, request, step))
            found[origin] += trace.values[request]
            counts[origin] += 1
    return tuple(
        Leftover(
            source=origin.source,
            phase=origin.phase,
            operator=origin.operator,
            is_evaluation=origin.is_evaluation,
            num_storages=counts[origin],
            num_bytes=size,
        )
        for origin, size in found.most_common()
    )


class _Profiler:
    """Goes through the steps, and keeps what is live over all of them."""

    def __init__(self, trace: AllocationTrace) -> None:
        self._trace = trace
        self._by_category: Counter[str] = Counter()
        self._total = 0
        self._copies_of_weights = 0
        self._parameters: Counter[int] = Counter()
        self._live_copies: Counter[str | None] = Counter()

    def profiles(self) -> Iterator[StepProfile]:
        walked, steps = walk(self._trace), _steps(self._trace)
        births = walked.requests[walked.births]
        ends = np.searchsorted(walked.requests, [step.stop for step in steps]).tolist()
        for step, begin, end in zip(steps, [0, *ends], ends, strict=False):
            for request, birth in zip(walked.requests[begin:end].tolist(), births[begin:end].tolist(), strict=True):
                if request == birth:
                    self._born(step, birth)
                else:
                    self._freed(step, birth)
            yield self._closed(step)

    def _born(self, step: _Step, request: int) -> None:
        note, size = self._trace.note(request), self._trace.values[request]
        if step.number == 0 and note.category == Category.PARAMETER:
            self._parameters[size] += 1
        self._add(note, size)
        self._note_birth(step, note, size, is_evaluation=_is_evaluation(note, request, step))

    def _freed(self, step: _Step, birth: int) -> None:
        note, size = self._trace.note(birth), self._trace.values[birth]
        self._add(note, -size)
        if self._is_copy_of_parameter(note, size):
            self._live_copies[note.source] -= size
        if birth >= step.start:
            step.optimizer_bytes -= size * (note.phase == "optimizer")
            step.evaluation_bytes -= size * _is_evaluation(note, birth, step)

    def _add(self, note: Note, change: int) -> None:
        self._total += change
        self._by_category[note.category or "unknown"] += change
        is_copy = note.operator == "_to_copy" and note.phase != "build" and abs(change) * HALF in self._parameters
        self._copies_of_weights += change * is_copy

    def _note_birth(self, step: _Step, note: Note, size: int, *, is_evaluation: bool) -> None:
        step.input_bytes += size * (note.category == Category.INPUT)
        step.new_gradient_bytes += size * (note.category == Category.GRADIENT)
        if step.early_gradient_bytes is None and note.phase == "forward" and note.category != Category.INPUT:
            step.early_gradient_bytes = self._by_category[Category.GRADIENT]
        if note.phase == "optimizer" and note.category == Category.TEMPORARY:
            step.optimizer_bytes += size
            step.optimizer_temporary_bytes = max(step.optimizer_temporary_bytes, step.optimizer_bytes)
        if is_evaluation:
            step.evaluation_bytes += size
            if step.evaluation_bytes > step.evaluation_graph_bytes:
                step.evaluation_graph_bytes, step.evaluation_source = step.evaluation_bytes, note.source
        if self._is_copy_of_parameter(note, size):
            step.copies.setdefault(note.source, Counter())[size] += 1
            self._live_copies[note.source] += size
            step.live_copies[note.source] = max(step.live_copies[note.source], self._live_copies[note.source])
        if self._total > step.peak_bytes:
            step.peak_bytes, step.peak_phase = self._total, note.phase
            step.at_peak = dict(self._by_category)
            step.weight_copy_bytes = self._copies_of_weights

    def _is_copy_of_parameter(self, note: Note, size: int) -> bool:
        return note.operator == "clone" and note.phase not in ("build", "optimizer") and size in self._parameters

    def _matched(self, copies: Counter[int]) -> int:
        """Bytes of copies that have a parameter of their size each: chance hits, of activations, make up little of them."""
        return sum(size * min(count, self._parameters[size]) for size, count in copies.items())

    def _closed(self, step: _Step) -> StepProfile:
        copied = {source: self._matched(sizes) for source, sizes in step.copies.items()}
        source = max(copied, key=lambda each: copied[each], default=None)
        return StepProfile(
            num_requests=step.stop - step.start - (step.number > 0),
            input_bytes=step.input_bytes,
            peak_bytes=step.peak_bytes,
            peak_phase=step.peak_phase,
            at_peak={name: size for name, size in step.at_peak.items() if size},
            at_end={name: size for name, size in self._by_category.items() if size},
            early_gradient_bytes=step.early_gradient_bytes or 0,
            new_gradient_bytes=step.new_gradient_bytes,
            optimizer_temporary_bytes=step.optimizer_temporary_bytes,
            evaluation_graph_bytes=step.evaluation_graph_bytes,
            evaluation_source=step.evaluation_source,
            weight_copy_bytes=step.weight_copy_bytes,
            kept_weight_copy_bytes=self._copies_of_weights,
            state_copy_bytes=copied.get(source, 0),
            state_copy_source=source,
            live_copy_bytes=step.live_copies[source],
        )


def _steps(trace: AllocationTrace) -> list[_Step]:
    """The build, and every stored step."""
    ops = np.frombuffer(trace.ops, dtype=np.uint8)
    goes_back = np.array([*(note.phase in ("backward", "optimizer") for note in trace.note_table), False])
    backward = [-1, *np.flatnonzero((ops == Op.ALLOC) & goes_back[np.asarray(trace.notes)]).tolist()]
    borders = [0, *np.flatnonzero(ops == Op.STEP).tolist(), len(ops)]
    steps = []
    for number, (start, stop) in enumerate(pairwise(borders)):
        last = backward[bisect_left(backward, stop) - 1]
        steps.append(_Step(number, start, stop, last if last >= start else stop))
    return steps


def _is_evaluation(note: Note, request: int, step: _Step) -> bool:
    """Whether it belongs to a pass that nothing goes back through, though its graph was recorded."""
    if note.category in OWNED or not note.has_graph:
        return False
    if note.phase == AFTER_UPDATE:  # averaged weights and the like are no pass through the model
        return note.module is not None
    if note.phase == "evaluation":
        return True
    return note.phase == "forward" and request > step.last_backward
