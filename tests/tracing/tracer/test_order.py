"""Every alloc and free of a traced run stands in the order in which the CPU's own allocator met them."""

from collections.abc import Iterator

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from lrtool.tracing.tracer.tracer import TraceSettings, trace
from lrtool.workload.batches import Batches
from lrtool.workload.devices import place
from lrtool.workload.step import make_step
from lrtool.workload.target import from_callable
from tests.tracing.tracer import traced_models as models

NUM_STEPS = 3
SMALLEST_BYTES = 512  # below, kernels keep counters and scalars of their own


def profiled(build: models.Build) -> list[int]:
    """Bytes of each request as the CPU allocator reports them, frees negative; no dispatch mode is on."""
    cpu = torch.device("cpu")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        workload = from_callable(build, params={}).build(seed=0, device=cpu)
        place(workload, cpu)
        step = make_step(workload, cpu, Batches(workload.train_loader))
        for _ in range(NUM_STEPS):
            step()
    events = recorded.profiler.kineto_results.events()
    memory = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    return [num_bytes for _, num_bytes in sorted(memory, key=lambda each: each[0])]


def signed_sizes(trace: AllocationTrace) -> Iterator[int]:
    """Bytes of each request of a trace, frees negative."""
    sizes: dict[int, int] = {}
    for op, slot, value in zip(trace.ops, trace.slots, trace.values, strict=True):
        if op == Op.ALLOC:
            sizes[slot] = value
            yield value
        elif op == Op.FREE:
            yield -sizes[slot]


def found_in_order(wanted: list[int], true: list[int]) -> int:
    """How many of `wanted` are met, in order, while going through `true` once; kernels add requests of their own."""
    rest = iter(true)
    return sum(1 for each in wanted if each in rest)


@pytest.mark.parametrize(
    "build", [models.mlp, models.resnet, models.gpt, models.gpt_checkpointed, models.llama, models.selecting]
)
def test_every_request_is_met_in_the_true_order(build: models.Build) -> None:
    true = [each for each in profiled(build) if abs(each) >= SMALLEST_BYTES]
    settings = TraceSettings(num_steps=NUM_STEPS, kind="cpu", until_steady=False)

    traced = [
        each
        for each in signed_sizes(trace(from_callable(build, params={}), settings).trace)
        if abs(each) >= SMALLEST_BYTES
    ]

    assert len(traced) > 80
    assert found_in_order(traced, true) == len(traced)
