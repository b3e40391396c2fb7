"""Steps that ask for more by the same number of bytes each time are continued as they would be traced."""

from collections.abc import Callable
from pathlib import Path

from lrtool.memory.replay.replay import replay
from lrtool.memory.trace.allocation_trace import Op
from lrtool.tracing.tracer.growth.lawful_growth import continued
from lrtool.tracing.tracer.log import TracedStep
from lrtool.tracing.tracer.tracer import TraceSettings, trace
from lrtool.workload.target import load


def step(*sizes: int) -> TracedStep:
    requests = [(Op.ALLOC, size, 0) for size in sizes]
    return TracedStep(requests=(*requests, (Op.FREE, 1, 0)), notes=(), digest=b"")


def test_sizes_that_rise_straight_go_on() -> None:
    steps = [step(1), *(step(100, 8 * number) for number in range(1, 6))]

    more = continued(steps, 8)

    assert [each.requests[1][1] for each in more] == [48, 56, 64]
    assert {each.requests[0][1] for each in more} == {100}
    assert {each.requests[2] for each in more} == {(Op.FREE, 1, 0)}


def test_without_a_law_nothing_is_told() -> None:
    squares = [step(number * number) for number in range(8)]
    fewer = [step(number) for number in range(8, 0, -1)]
    longer = [step(*range(1, number + 1)) for number in range(8)]

    for steps in (squares, fewer, longer, squares[:3]):
        assert continued(steps, 100) == ()


def test_continued_steps_are_those_that_would_be_traced(workload_file: Callable[[str], Path]) -> None:
    factory = load(f"{workload_file('diagnose_cases')}:joined_outputs")
    told = trace(factory, TraceSettings(num_steps=60))
    traced = trace(factory, TraceSettings(num_steps=60, until_steady=False))

    assert told.num_traced_steps < 60 == told.num_steps == traced.num_traced_steps
    assert told.trace.values == traced.trace.values
    assert told.trace.ops == traced.trace.ops
    assert replay(told.trace).peaks == replay(traced.trace).peaks
