"""Writes traced steps out as an allocation trace; what repeats is stored once and answered for any number of steps."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from lrtool.memory.trace.builder import TraceBuilder
from lrtool.tracing.tracer.log import BUILD, Birth, TracedStep
from lrtool.tracing.tracer.steady_state import Period

_MAX_ROUND_STEPS = 4096
EVALUATION = "evaluation"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """The repeated part: `num_steps` steps from `first` on (counted from 1) happen `times` times in a row."""

    first: int
    num_steps: int
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A pass of evaluation, traced after training step number `after`."""

    step: TracedStep
    after: int


def trace_of(
    steps: Sequence[TracedStep],
    *,
    period: Period | None,
    num_steps: int,
    name: str,
    warnings: tuple[str, ...] = (),
    evaluation: Evaluation | None = None,
) -> AllocationTrace:
    """The trace of the build (`steps[0]`) and `num_steps` training steps, of which `steps[1:]` were traced.

    Without a period the trace ends with the last traced step. An `evaluation`, traced after that, is one step more.
    """
    writer = _Writer(steps, period, num_steps, name)
    return writer.write(warnings, evaluation)


class _Writer:
    def __init__(self, steps: Sequence[TracedStep], period: Period | None, num_steps: int, name: str) -> None:
        self._steps = steps
        self._period = period
        self._last = num_steps if period is not None else min(num_steps, len(steps) - 1)
        self._round = self._choose_round()
        self._freed = self._all_freed()
        self._builder = TraceBuilder(name)

    def write(self, warnings: tuple[str, ...], evaluation: Evaluation | None) -> AllocationTrace:
        self._write_step(BUILD)
        step, part = 1, self._round
        while step <= self._last:
            if part is None or step != part.first:
                self._write_step(step)
                step += 1
                continue
            self._builder.begin_repeat(part.times)
            for each in range(step, step + part.num_steps):
                self._write_step(each)
            self._builder.end_repeat()
            step += part.num_steps * part.times
        if evaluation is not None:
            self._write_evaluation(evaluation)
        return self._builder.build(warnings=warnings)

    def _traced(self, step: int) -> int:
        """The traced step that stands for training step `step`."""
        if self._period is None or step < self._period.first_step + self._period.num_steps:
            return step
        return self._period.first_step + (step - self._period.first_step) % self._period.num_steps

    def _write_step(self, step: int) -> None:
        builder, traced = self._builder, self._steps[self._traced(step)]
        if step != BUILD:
            builder.call(Op.STEP)
        position = 0
        for request in traced.requests:
            op = request[0]
            if op == Op.ALLOC:
                birth = Birth(step, position)
                builder.alloc(self._key(birth), request[1], stream=request[2], note=traced.notes[position])
                position += 1
            elif op == Op.FREE:
                builder.free(self._name(Birth(step - request[1], request[2])))
            elif op == Op.RECORD_STREAM:
                builder.record_stream(self._name(Birth(step - request[1], request[2])), request[3])
            else:
                builder.call(Op.EMPTY_CACHE)

    def _write_evaluation(self, evaluation: Evaluation) -> None:
        """What it frees of earlier steps is what the last steps left; a tensor that nobody can tell from others stays."""
        builder, traced, own = self._builder, evaluation.step, evaluation.after + 1
        shift, position = self._last - evaluation.after, 0
        builder.call(Op.STEP)
        for request in traced.requests:
            if request[0] == Op.ALLOC:
                builder.alloc((EVALUATION, position), request[1], stream=request[2], note=traced.notes[position])
                position += 1
            elif request[0] == Op.EMPTY_CACHE:
                builder.call(Op.EMPTY_CACHE)
            else:
                key = self._key_of(own - request[1], request[2], own, shift)
                if key not in builder:
                    continue
                if request[0] == Op.FREE:
                    builder.free(key)
                else:
                    builder.record_stream(key, request[3])

    def _key_of(self, step: int, position: int, own: int, shift: int) -> Hashable:
        """The name of a tensor that was born in the traced step `step`."""
        if step == own:
            return EVALUATION, position
        first = 1 if self._period is None else self._period.first_step
        return self._name(Birth(step + shift if step >= first else step, position))

    def _key(self, birth: Birth) -> Birth | None:
        """None for a tensor that is born in the repeated part and never freed: every round leaves one more."""
        named = self._name(birth)
        is_repeated = self._round is not None and birth.step >= self._round.first
        return None if is_repeated and named not in self._freed else named

    def _name(self, birth: Birth) -> Birth:
        """Tensors that take each other's place from round to round share the name of the first round's."""
        part = self._round
        if part is None or birth.step < part.first - part.num_steps or birth.step == BUILD:
            return birth
        return Birth(part.first + (birth.step - part.first) % part.num_steps, birth.position)

    def _all_freed(self) -> frozenset[Birth]:
        """Names of the tensors that some request of the repeated part, or after it, frees or uses."""
        part = self._round
        if part is None:
            return frozenset()
        steps = range(part.first, part.first + part.num_steps)
        return frozenset(
            self._name(Birth(step - request[1], request[2]))
            for step in steps
            for request in self._steps[self._traced(step)].requests
            if request[0] == Op.FREE
        )

    def _choose_round(self) -> _Round | None:
        """Rounds begin once every tensor that one round hands to the next was born in steps which repeat."""
        period = self._period
        if period is None:
            return None
        num_steps = period.num_steps
        while self._overlaps(num_steps):
            num_steps += period.num_steps
            if num_steps > _MAX_ROUND_STEPS:
                return None
        first = period.first_step + num_steps
        times = (self._last - first + 1) // num_steps
        return _Round(first=first, num_steps=num_steps, times=times) if times > 1 else None

    def _overlaps(self, num_steps: int) -> bool:
        """Whether in rounds of `num_steps` a tensor is born before the one whose place it takes is freed."""
        assert self._period is not None
        first = self._period.first_step
        for step in range(first, first + self._period.num_steps):
            requests = self._steps[step].requests
            for index, request in enumerate(requests):
                if request[0] != Op.FREE or request[1] < num_steps:
                    continue
                if request[1] > num_steps or _birth_index(requests, request[2]) < index:
                    return True
        return False


def _birth_index(requests: Sequence[tuple[int, ...]], position: int) -> int:
    """Where among a step's requests its birth number `position` stands; past the end where it has fewer."""
    births = -1
    for index, request in enumerate(requests):
        births += request[0] == Op.ALLOC
        if births == position:
            return index
    return len(requests)
