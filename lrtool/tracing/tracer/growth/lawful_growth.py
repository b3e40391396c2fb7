"""Steps that ask for the same in the same order, but each time for larger pieces by the same number of bytes: continued.

A tensor that gets longer, `kept = torch.cat((kept, out))`, makes such steps: no two are equal, and each follows from the
two before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from lrtool.memory.trace.allocation_trace import Op
from lrtool.tracing.tracer.log import Request, TracedStep

STEPS_OF_LAW = 4
"""So many of the last steps have to follow the law."""
MAX_REQUESTS = 200_000


def continued(steps: Sequence[TracedStep], num_steps: int) -> tuple[TracedStep, ...]:
    """The training steps after the last of `steps` (the first is the build), up to step `num_steps`, or as many as can be
    replayed in seconds; none where the last steps follow no such law.
    """
    last = steps[-STEPS_OF_LAW:]
    if len(steps) <= STEPS_OF_LAW or not _is_law(last):
        return ()
    requests = last[-1].requests
    room = max(0, MAX_REQUESTS - sum(len(step.requests) for step in steps)) // max(1, len(requests))
    count = min(num_steps - (len(steps) - 1), room)
    rises = [_size(now) - _size(before) for before, now in zip(last[-2].requests, requests, strict=True)]
    return tuple(
        replace(last[-1], requests=tuple(_risen(requests, rises, times)), digest=b"") for times in range(1, count + 1)
    )


def _is_law(steps: Sequence[TracedStep]) -> bool:
    shapes = {tuple(_without_size(request) for request in step.requests) for step in steps}
    if len(shapes) != 1:
        return False
    sizes = [[_size(request) for request in step.requests] for step in steps]
    rises = {tuple(b - a for a, b in zip(*pair, strict=True)) for pair in pairwise(sizes)}
    return len(rises) == 1 and min(rises.pop(), default=0) >= 0


def _risen(requests: Sequence[Request], rises: Sequence[int], times: int) -> Iterator[Request]:
    for request, rise in zip(requests, rises, strict=True):
        yield (request[0], request[1] + rise * times, *request[2:]) if request[0] == Op.ALLOC else request


def _size(request: Request) -> int:
    return request[1] if request[0] == Op.ALLOC else 0


def _without_size(request: Request) -> Request:
    return (request[0], *request[2:]) if request[0] == Op.ALLOC else request
