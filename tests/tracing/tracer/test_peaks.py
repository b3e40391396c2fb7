"""The predicted peak is what hand arithmetic and torch's own MemTracker say, to the byte."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker

from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from lrtool.tracing.fake_cuda.gpu import fake_cuda
from lrtool.tracing.fake_kernels.autograd import EngineView, watched_engine
from lrtool.tracing.tracer.tracer import TraceSettings, trace
from lrtool.workload.batches import Batches
from lrtool.workload.devices import place
from lrtool.workload.step import make_step
from lrtool.workload.target import from_callable
from tests.tracing.tracer import traced_models as models

GPU = torch.device("cuda", 0)


def rounded(num_bytes: int) -> int:
    """What the CUDA allocator makes of a request, splits aside."""
    return (num_bytes + 511) // 512 * 512


def floats(count: int) -> int:
    return rounded(4 * count)


def peak_bytes(trace: AllocationTrace) -> int:
    """The most that is live at once, requests rounded."""
    live: dict[int, int] = {}
    total = peak = 0
    for op, slot, value in zip(trace.ops, trace.slots, trace.values, strict=True):
        if op == Op.ALLOC:
            live[slot] = rounded(value)
            total += live[slot]
            peak = max(peak, total)
        elif op == Op.FREE:
            total -= live.pop(slot)
    return peak


def predicted_peak_bytes(build: models.Build, num_steps: int, **params: Any) -> int:
    settings = TraceSettings(num_steps=num_steps, until_steady=False, with_workspaces=False)
    return peak_bytes(trace(from_callable(build, params=params), settings).trace)


def mem_tracker_peak_bytes(build: Callable[..., Any], num_steps: int) -> int:
    """The peak on the fake GPU as MemTracker counts it, over the build and the steps."""
    view = EngineView(lambda _tensor: None)
    with fake_cuda(), watched_engine(view, on_start=lambda **_: None):
        tracker = MemTracker()
        with tracker:
            workload = from_callable(build, params={}).build(seed=0, device=GPU)
            place(workload, GPU)
            step = make_step(workload, GPU, Batches(workload.train_loader))
            for _ in range(num_steps):
                step()
                tracker.reset_mod_stats()
        return int(tracker.get_tracker_snapshot("peak")[GPU]["Total"])


@pytest.mark.parametrize("build", [models.mlp, models.resnet, models.gpt, models.gpt_checkpointed, models.llama])
def test_the_peak_is_that_of_mem_tracker(build: models.Build) -> None:
    assert predicted_peak_bytes(build, num_steps=1) == mem_tracker_peak_bytes(build, num_steps=1)


def test_the_peak_of_an_mlp_is_that_of_hand_arithmetic() -> None:
    batch, inputs, width, classes = 256, 1000, 4000, 10
    weights = floats(inputs * width) + floats(width) + floats(width * classes) + floats(classes)
    held = weights + floats(batch * inputs) + 2 * floats(1)  # the loss and its gradient; the labels are gone
    second_layer = floats(width * classes) + floats(classes)
    first_layer = floats(inputs * width) + floats(width)

    at_the_last_gradient = held + second_layer + floats(batch * width) + first_layer

    assert predicted_peak_bytes(models.mlp, 1, optimizer="sgd") == at_the_last_gradient
