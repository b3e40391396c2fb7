"""What a traced program asked of the allocator, step by step, in a form in which equal steps are equal.

A free names its tensor as (steps since its birth, position among that step's births), so steps can be compared,
repeated and written out as a trace without regard to which tensors were meant.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from lrtool.memory.trace.allocation_trace import Note, Op
from lrtool.results import Category

BUILD = 0
Request = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Birth:
    """Where a tensor was allocated: step 0 is the build, 1 the first training step; `position` among the step's births."""

    step: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStep:
    """The requests of the build or of one training step, in order.

    Each is (ALLOC, bytes, stream), (FREE, lag in steps, position), (RECORD_STREAM, lag, position, stream) or
    (EMPTY_CACHE,). `notes` has one entry for each birth. Steps with equal `digest` make the same requests.
    """

    requests: tuple[Request, ...]
    notes: tuple[Note, ...]
    digest: bytes


@dataclass(slots=True)
class OpenNote:
    """A note whose category may still change: what a tensor is may show only later in the step."""

    phase: str
    category: Category
    source: str | None = None
    operator: str | None = None
    module: str | None = None
    has_graph: bool = False
    shape: str | None = None
    device: int = 0
    low_bytes: int | None = None
    high_bytes: int | None = None

    def closed(self) -> Note:
        return Note(**{name: getattr(self, name) for name in self.__slots__})


class Gate(Protocol):
    """What lets requests through as they come, or raises the error that a full device does."""

    def alloc(self, birth: Birth, num_bytes: int, *, stream: int, note: OpenNote) -> None: ...

    def free(self, birth: Birth) -> None: ...

    def empty_cache(self) -> None: ...


class TraceLog:
    """Collects requests; `end_step` closes the build, and then each training step. Equal steps are stored once."""

    def __init__(self) -> None:
        self.steps: list[TracedStep] = []
        self.live_bytes = 0
        self.peak_bytes = 0
        self.num_requests = 0
        self.live_bytes_at_ends: list[int] = []
        self._requests: list[Request] = []
        self._notes: list[OpenNote] = []
        self._known: dict[bytes, TracedStep] = {}
        self.gate: Gate | None = None

    @property
    def step(self) -> int:
        """Number of the step that is being recorded; 0 during the build."""
        return len(self.steps)

    def alloc(self, num_bytes: int, *, stream: int, note: OpenNote) -> Birth:
        """A tensor of `num_bytes` is born."""
        birth = Birth(self.step, len(self._notes))
        if self.gate is not None:
            self._pass(self.gate, birth, num_bytes, stream, note)
        self._requests.append((Op.ALLOC, num_bytes, stream))
        self._notes.append(note)
        self.live_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        return birth

    def _pass(self, gate: "Gate", birth: Birth, num_bytes: int, stream: int, note: OpenNote) -> None:
        """Let a request through, or tell that it failed: the allocator has returned its cache by then."""
        try:
            gate.alloc(birth, num_bytes, stream=stream, note=note)
        except Exception:
            self._requests.append((Op.EMPTY_CACHE,))
            raise

    def free(self, birth: Birth, num_bytes: int) -> None:
        """A tensor is freed."""
        if self.gate is not None:
            self.gate.free(birth)
        self._requests.append((Op.FREE, self.step - birth.step, birth.position))
        self.live_bytes -= num_bytes

    @contextmanager
    def freeing_together(self) -> Iterator[None]:
        """What the body frees at once, in an order that addresses decide, is freed in the order of birth."""
        begin = len(self._requests)
        yield
        freed = self._requests[begin:]
        if all(request[0] == Op.FREE for request in freed):
            self._requests[begin:] = sorted(freed, key=lambda request: (-request[1], request[2]))

    def record_stream(self, birth: Birth, stream: int) -> None:
        """A tensor is used by another CUDA stream."""
        self._requests.append((Op.RECORD_STREAM, self.step - birth.step, birth.position, stream))

    def empty_cache(self) -> None:
        """The program returns its cache."""
        if self.gate is not None:
            self.gate.empty_cache()
        self._requests.append((Op.EMPTY_CACHE,))

    def categorize(self, birth: Birth, category: Category) -> None:
        """Say what a tensor of the current step turned out to be; earlier steps are closed."""
        if birth.step == self.step:
            self._notes[birth.position].category = category

    @property
    def num_births(self) -> int:
        """How many tensors were born in the current step."""
        return len(self._notes)

    def rename_phase(self, before: str, after: str, *, first: int) -> None:
        """Of the current step's births from `first` on, those of phase `before` turned out to be of phase `after`."""
        for note in self._notes[first:]:
            if note.phase == before:
                note.phase = after

    def category(self, birth: Birth) -> str | None:
        """The category of a tensor of any step."""
        if birth.step == self.step:
            return self._notes[birth.position].category
        return self.steps[birth.step].notes[birth.position].category

    def end_step(self) -> TracedStep:
        """Close the current step."""
        self.num_requests += len(self._requests)
        digest = _digest(self._requests, [note.device for note in self._notes])
        step = self._known.get(digest)
        if step is None:
            notes = tuple(note.closed() for note in self._notes)
            step = self._known[digest] = TracedStep(requests=tuple(self._requests), notes=notes, digest=digest)
        self.steps.append(step)
        self.live_bytes_at_ends.append(self.live_bytes)
        self._requests, self._notes = [], []
        return step


def _digest(requests: Sequence[Request], devices: Sequence[int]) -> bytes:
    told = repr(requests) + (repr(devices) if any(devices) else "")
    return hashlib.blake2b(told.encode(), digest_size=16).digest()
