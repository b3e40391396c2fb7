"""Training that is spread over several GPUs: each has its own requests, peaks and capacity."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrtool.memory.replay.devices import play_fullest
from lrtool.memory.replay.replay import Scenario
from lrtool.memory.trace.devices import devices_of, on_device
from lrtool.memory.trace.live import walk
from lrtool.tracing.fake_cuda.gpu import fake_cuda
from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, trace
from lrtool.workload.target import from_callable

INPUTS, WIDTH, ROWS = 256, 4096, 8
FIRST_BYTES, SECOND_BYTES = 4 * (INPUTS * WIDTH + WIDTH), 4 * (WIDTH * 2 * INPUTS + 2 * INPUTS)


class Split(nn.Module):
    """Half of it on each of two GPUs; the second half is twice as large."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(INPUTS, WIDTH).to("cuda:0")
        self.second = nn.Linear(WIDTH, 2 * INPUTS).to("cuda:1")

    def forward(self, x: Tensor) -> Any:
        return self.second(self.first(x.to("cuda:0")).relu().to("cuda:1"))


def build() -> dict[str, Any]:
    model = Split()
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "train_loader": [(torch.randn(ROWS, INPUTS),)] * 4,
        "loss": lambda model, batch: model(batch[0]).pow(2).mean(),
    }


@pytest.fixture(scope="module")
def run() -> TracedRun:
    return trace(from_callable(build, params={}), TraceSettings(num_steps=50, with_workspaces=False))


def test_each_device_has_what_is_born_on_it(run: TracedRun) -> None:
    assert devices_of(run.trace) == (0, 1)
    for device, parameters in ((0, FIRST_BYTES), (1, SECOND_BYTES)):
        peak = walk(on_device(run.trace, device)).changes.cumsum().max()
        assert 2 * parameters < peak < 2.5 * parameters


def test_both_together_are_the_whole_trace(run: TracedRun) -> None:
    parts = [walk(on_device(run.trace, device)).changes for device in (0, 1)]
    assert sorted(walk(run.trace).changes) == sorted([*parts[0], *parts[1]])


def test_steps_and_rounds_are_those_of_the_run(run: TracedRun) -> None:
    for device in (0, 1):
        found = play_fullest(on_device(run.trace, device), Scenario())
        assert len(found.played.steps) == 50
        assert found.devices == ()


def test_the_fullest_device_is_the_one_that_is_told(run: TracedRun) -> None:
    found = play_fullest(run.trace, Scenario())
    assert [each.device for each in found.devices] == ["cuda:0", "cuda:1"]
    assert found.played.peaks.reserved_bytes == found.devices[1].peak_reserved_bytes
    assert found.played.peaks.allocated_bytes == found.devices[1].peak_allocated_bytes
    assert found.devices[0].peak_allocated_bytes < found.devices[1].peak_allocated_bytes


def test_the_device_that_runs_out_of_memory_first_comes_before_the_fullest(run: TracedRun) -> None:
    found = play_fullest(run.trace, Scenario(capacity_bytes=SECOND_BYTES))
    assert found.played.oom is not None
    assert [each.runs_out for each in found.devices] == [found.devices[0].runs_out, True]


def test_the_number_of_gpus_follows_the_highest_that_is_asked_for() -> None:
    with fake_cuda():
        assert torch.cuda.device_count() == 1
        with torch.cuda.device(1):
            assert torch.ones(2, device="cuda").device == torch.device("cuda", 1)
            assert nn.Linear(8, 8).to("cuda").weight.device == torch.device("cuda", 1)
        assert torch.cuda.device_count() == 2
        assert torch.cuda.current_device() == 0
        assert torch.ones(2, device="cuda").device == torch.device("cuda", 0)
        torch.cuda.set_device("cuda:2")
        assert torch.cuda.current_device() == 2
        assert torch.ones(2).cuda().device == torch.device("cuda", 2)


def test_the_current_gpu_is_the_first_again_afterwards() -> None:
    with fake_cuda():
        torch.cuda.set_device(3)
    with fake_cuda():
        assert torch.ones(2, device="cuda").device == torch.device("cuda", 0)
