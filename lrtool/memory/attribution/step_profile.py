"""What a traced stream shows of each step beyond its size: which phase peaks, what is live there, and what is left behind.

Pure: one walk over the stored requests and their notes. Bytes are those requested; the allocator's rounding is not in them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from lrtool.memory.trace.allocation_trace import NO_SLOT, AllocationTrace, Note, Op

HALF = 2
OWNED = frozenset(
    {"parameter", "gradient", "optimizer state", "buffer", "input", "workspace",
     "gradient bucket", "communication buffer", "unsharded parameter"}
)  # fmt: skip


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
    `state_copy_bytes` copies of parameters by one line, `state_copy_source`, each parameter counted once.
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


@dataclass(frozen=True, slots=True)
class _Origin:
    source: str | None
    phase: str
    operator: str | None
    is_evaluation: bool


@dataclass(slots=True)
class _Live:
    size: int
    note: Note
    step: int
    is_evaluation: bool


@dataclass(slots=True)
class _Step:
    """The step that is being walked."""

    number: int
    num_requests: int = 0
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


def profile_steps(stream: AllocationTrace) -> tuple[StepProfile, ...]:
    """A profile of the build and of every stored step; steps that are repeated stand once."""
    return tuple(_Walk(stream).steps())


def leftovers(stream: AllocationTrace) -> tuple[Leftover, ...]:
    """What lines left behind, per step: storages of the third-last stored step that are still live, most bytes first."""
    walk = _Walk(stream)
    number = len(list(walk.steps())) - 1
    return tuple(walk.leftovers_of(number - 2)) if number >= 4 else ()


class _Walk:
    def __init__(self, stream: AllocationTrace) -> None:
        self._stream = stream
        self._live: dict[int, _Live] = {}
        self._nameless: list[_Live] = []
        self._by_category: Counter[str] = Counter()
        self._total = 0
        self._copies_of_weights = 0
        self._last_backward = _last_backwards(stream)
        self._parameters: Counter[int] = Counter()

    def steps(self) -> Iterator[StepProfile]:
        stream, step = self._stream, _Step(0)
        for index, (op, slot, size) in enumerate(zip(stream.ops, stream.slots, stream.values, strict=True)):
            if op == Op.STEP:
                yield self._closed(step)
                step = _Step(step.number + 1)
                continue
            step.num_requests += 1
            if op == Op.ALLOC:
                self._born(step, index, slot, size)
            elif op == Op.FREE:
                self._freed(step, slot)
        yield self._closed(step)

    def leftovers_of(self, number: int) -> list[Leftover]:
        found: Counter[_Origin] = Counter()
        counts: Counter[_Origin] = Counter()
        for live in (*self._live.values(), *self._nameless):
            note = live.note
            if live.step == number and note.category not in OWNED:
                origin = _Origin(note.source, note.phase or "forward", note.operator, live.is_evaluation)
                found[origin] += live.size
                counts[origin] += 1
        made = [
            Leftover(
                source=origin.source,
                phase=origin.phase,
                operator=origin.operator,
                is_evaluation=origin.is_evaluation,
                num_storages=counts[origin],
                num_bytes=size,
            )
            for origin, size in found.items()
        ]
        return sorted(made, key=lambda each: -each.num_bytes)

    def _born(self, step: _Step, index: int, slot: int, size: int) -> None:
        note = self._stream.note(index)
        if step.number == 0 and note.category == "parameter":
            self._parameters[size] += 1
        is_evaluation = _is_evaluation(note, past_backward=index > self._last_backward.get(step.number, index))
        live = _Live(size, note, step.number, is_evaluation)
        if slot == NO_SLOT:
            self._nameless.append(live)
        else:
            self._live[slot] = live
        self._add(live, 1)
        self._note_birth(step, live)

    def _freed(self, step: _Step, slot: int) -> None:
        live = self._live.pop(slot, None)
        if live is None:
            return
        self._add(live, -1)
        if live.step == step.number:
            step.optimizer_bytes -= live.size * (live.note.phase == "optimizer")
            step.evaluation_bytes -= live.size * live.is_evaluation

    def _add(self, live: _Live, sign: int) -> None:
        self._total += sign * live.size
        self._by_category[live.note.category or "unknown"] += sign * live.size
        self._copies_of_weights += sign * live.size * self._is_weight_copy(live)

    def _note_birth(self, step: _Step, live: _Live) -> None:
        note, size = live.note, live.size
        step.input_bytes += size * (note.category == "input")
        step.new_gradient_bytes += size * (note.category == "gradient")
        if step.early_gradient_bytes is None and note.phase == "forward" and note.category != "input":
            step.early_gradient_bytes = self._by_category["gradient"]
        if note.phase == "optimizer" and note.category == "temporary":
            step.optimizer_bytes += size
            step.optimizer_temporary_bytes = max(step.optimizer_temporary_bytes, step.optimizer_bytes)
        if live.is_evaluation:
            step.evaluation_bytes += size
            if step.evaluation_bytes > step.evaluation_graph_bytes:
                step.evaluation_graph_bytes, step.evaluation_source = step.evaluation_bytes, note.source
        if note.operator == "clone" and note.phase not in ("build", "optimizer") and size in self._parameters:
            step.copies.setdefault(note.source, Counter())[size] += 1
        if self._total > step.peak_bytes:
            step.peak_bytes, step.peak_phase = self._total, note.phase
            step.at_peak = dict(self._by_category)
            step.weight_copy_bytes = self._copies_of_weights

    def _matched(self, copies: Counter[int]) -> int:
        """Bytes of copies that have a parameter of their size each: chance hits, of activations, make up little of them."""
        return sum(size * min(count, self._parameters[size]) for size, count in copies.items())

    def _is_weight_copy(self, live: _Live) -> bool:
        note = live.note
        return note.operator == "_to_copy" and note.phase != "build" and live.size * HALF in self._parameters

    def _closed(self, step: _Step) -> StepProfile:
        copied = {source: self._matched(sizes) for source, sizes in step.copies.items()}
        source = max(copied, key=lambda each: copied[each], default=None)
        return StepProfile(
            num_requests=step.num_requests,
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
        )


def _last_backwards(stream: AllocationTrace) -> dict[int, int]:
    """Of each step, the stored request that its last backward pass or optimizer step made."""
    last: dict[int, int] = {}
    step = 0
    for index, op in enumerate(stream.ops):
        step += op == Op.STEP
        if op == Op.ALLOC and stream.note(index).phase in ("backward", "optimizer"):
            last[step] = index
    return last


def _is_evaluation(note: Note, *, past_backward: bool) -> bool:
    """Whether it belongs to a pass that nothing goes back through, though its graph was recorded."""
    if note.category in OWNED or not note.has_graph:
        return False
    return note.phase == "evaluation" or (note.phase == "forward" and past_backward)
