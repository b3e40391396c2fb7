"""In which training step a request of a stream was made. Pure."""

from collections.abc import Iterator

from lrtool.memory.stream import AllocationStream, Op


def step_of(stream: AllocationStream, request: int) -> int:
    """The step, from 1, in which request number `request` was made; 0 before the first."""
    step = position = 0
    for times, marks, length in _marks(stream):
        if request < position + times * length:
            rounds, rest = divmod(request - position, length)
            return step + rounds * len(marks) + sum(mark <= rest for mark in marks)
        step += times * len(marks)
        position += times * length
    return step


def _marks(stream: AllocationStream) -> Iterator[tuple[int, list[int], int]]:
    """(times, where steps begin, requests) of each part of a stream."""
    for part in stream.parts():
        requests = stream.ops[part.start : part.stop]
        yield part.times, [index for index, op in enumerate(requests) if op == Op.STEP], len(requests)
