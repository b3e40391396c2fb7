"""Finds the steps of a trace that repeat: consecutive steps, or short cycles of steps, with the very same requests."""

from collections.abc import Iterator
from itertools import pairwise

from lrtool.memory.trace.allocation_trace import AllocationTrace, Op, Repeat

_MAX_CYCLE = 4


def rounds(trace: AllocationTrace) -> Iterator[Repeat]:
    """The trace as ranges of stored requests and how often each happens in a row."""
    for part in trace.parts():
        if part.times > 1:
            yield part
        else:
            yield from _cycles(_steps(trace, part))


def _steps(trace: AllocationTrace, part: Repeat) -> tuple[list[int], list[int]]:
    """Borders of the steps in a part, and a number per step that is equal where the requests are."""
    borders, position = [part.start], trace.ops.find(Op.STEP, part.start + 1, part.stop)
    while position >= 0:
        borders.append(position)
        position = trace.ops.find(Op.STEP, position + 1, part.stop)
    borders.append(part.stop)
    numbers: dict[tuple[bytes, ...], int] = {}
    kinds = [numbers.setdefault(_content(trace, start, stop), len(numbers)) for start, stop in pairwise(borders)]
    return borders, kinds


def _content(trace: AllocationTrace, start: int, stop: int) -> tuple[bytes, ...]:
    columns = (trace.slots, trace.values, trace.streams)
    return (trace.ops[start:stop], *(column[start:stop].tobytes() for column in columns))


def _cycles(steps: tuple[list[int], list[int]]) -> Iterator[Repeat]:
    borders, kinds = steps
    first = 0
    while first < len(kinds):
        length, times = max(((cycle, _times(kinds, first, cycle)) for cycle in range(1, _MAX_CYCLE + 1)), key=_gain)
        yield Repeat(start=borders[first], stop=borders[first + length], times=times)
        first += length * times


def _gain(cycle: tuple[int, int]) -> tuple[int, int]:
    """Prefers what saves the most steps, and among those the shortest cycle."""
    length, times = cycle
    return length * (times - 1), -length


def _times(kinds: list[int], first: int, cycle: int) -> int:
    """How often the `cycle` steps from `first` on happen in a row."""
    times = 1
    while kinds[first : first + cycle] == kinds[first + times * cycle : first + (times + 1) * cycle]:
        times += 1
    return times


def step_of(trace: AllocationTrace, request: int) -> int:
    """The step, from 1, in which request number `request` was made; 0 before the first."""
    step = position = 0
    for part in trace.parts():
        length, marks = part.stop - part.start, trace.ops.count(Op.STEP, part.start, part.stop)
        if request < position + part.times * length:
            repeats, rest = divmod(request - position, length)
            return step + repeats * marks + trace.ops.count(Op.STEP, part.start, part.start + rest + 1)
        step += part.times * marks
        position += part.times * length
    return step
