"""Estimated sizes on their way from an operator through the trace to the allocator, and what is said of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lrtool.memory.replay.replay import replay
from lrtool.memory.trace.allocation_trace import Note
from lrtool.memory.trace.bounds import at_end, has_estimates
from lrtool.results import Assumption
from lrtool.tracing.fake_cuda.gpu import FakeGpu
from lrtool.tracing.tracer.storage_recorder import StorageRecorder
from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, recording, trace
from lrtool.tracing.workspaces.operators import HiddenCosts
from lrtool.tracing.workspaces.platform import Platform
from lrtool.workload.target import from_callable

MIB = 2**20
T4 = FakeGpu(capability=(7, 5))
PLATFORM = Platform(capability=(7, 5), torch_version=(2, 13), cublas_config=":0:0")


def one_step(step: Callable[[], object], *, gpu: FakeGpu = T4) -> StorageRecorder:
    """The recorder after a step on the fake GPU, without cuBLAS workspaces."""
    with recording("predicted", gpu=gpu, costs=HiddenCosts(PLATFORM)) as recorder:
        recorder.phase = None
        recorder.end_step()
        step()
        recorder.end_step()
        return recorder


def births(recorder: StorageRecorder, operator: str) -> list[tuple[int, Note]]:
    """Sizes and notes of what an operator allocated in the last step."""
    step = recorder.log.steps[-1]
    sizes = [request[1] for request in step.requests if request[0] == 0]
    return [(size, note) for size, note in zip(sizes, step.notes, strict=True) if note.operator == operator]


def traced(module: Callable[[], nn.Module], *shape: int) -> TracedRun:
    def build() -> dict[str, Any]:
        model = module()
        return {
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
            "train_loader": [torch.zeros(shape)] * 2,
            "loss": lambda model, batch: _first(model(batch)).sum(),
        }

    return trace(from_callable(build, params={}), TraceSettings(num_steps=3, gpu=T4, platform=PLATFORM))


def _first(out: Any) -> Any:
    return out[0] if isinstance(out, tuple) else out


def told(assumptions: tuple[Assumption, ...], kind: str) -> list[Assumption]:
    return [each for each in assumptions if each.kind == kind]


def test_a_recurrent_layers_reserve_lives_from_forward_to_backward() -> None:
    """An LSTM of 8 over 5 sequences of 10: 4 x 50 x 8 x 5 bytes; what a forward pass alone keeps shows it."""

    def step() -> None:
        network = nn.LSTM(4, 8).cuda()
        out = network(torch.zeros(10, 5, 4, device="cuda"))[0]
        held.append(recorder_bytes())
        out.sum().backward()
        held.append(recorder_bytes())

    def recorder_bytes() -> int:
        return torch.cuda.memory_allocated()

    held: list[int] = []
    sizes = births(one_step(step), "_cudnn_rnn")
    reserves = [(size, note) for size, note in sizes if note.category == "activation" and note.low_bytes is not None]
    assert [(size, note.low_bytes, note.high_bytes) for size, note in reserves] == [(8000, 6400, 12_800)]
    assert held[0] - held[1] >= 8000 - 8 * 4 * (4 + 8 + 2) * 4, "given back in backward; gradients took its place"


def test_in_evaluation_nothing_is_kept() -> None:
    recorder = one_step(lambda: nn.LSTM(4, 8).cuda().eval()(torch.zeros(10, 5, 4, device="cuda")))
    assert all(note.category != "activation" or note.low_bytes is None for _, note in births(recorder, "_cudnn_rnn"))


def test_a_network_of_equal_steps_keeps_its_bounds_in_every_step() -> None:
    found = traced(lambda: nn.LSTM(4, 64), 10, 5, 4)
    peaks = [replay(each).peaks.allocated_bytes for each in (at_end(found.trace, "low"), found.trace)]
    most = replay(at_end(found.trace, "high")).peaks.allocated_bytes
    assert has_estimates(found.trace)
    assert peaks[0] < peaks[1] < most


def test_an_estimate_of_nothing_is_no_allocation_unless_it_is_at_its_most() -> None:
    """1 x 1 convolutions: no workspace as a rule, and a copy of input and output at most."""
    found = traced(lambda: nn.Conv2d(16, 16, 1, bias=False), 8, 16, 128, 128)
    low, likely, high = (
        replay(each) for each in (at_end(found.trace, "low"), found.trace, at_end(found.trace, "high"))
    )
    assert low.peaks == likely.peaks
    assert high.peaks.allocated_bytes > likely.peaks.allocated_bytes + 8 * MIB
    assert likely.stats["allocation.all.allocated"] < high.stats["allocation.all.allocated"]


def test_all_convolutions_are_told_of_together() -> None:
    found = traced(lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)), 2, 3, 16, 16)
    (said,) = told(found.assumptions, "convolution")
    assert said.asked == "workspace of convolutions, 5 a step"
    assert said.taken.endswith(" for the largest, 864 B likely")
    assert said.source is None


def test_an_attention_kernel_is_told_once_for_its_line_and_shape() -> None:
    """Of 4 x 12 x 128 x 128 scores, float32 twice are 6 MiB."""

    def step() -> None:
        query = torch.zeros(4, 12, 128, 64, device="cuda", dtype=torch.float16)
        mask = torch.zeros(4, 1, 128, 128, device="cuda", dtype=torch.float16)
        for _ in range(3):
            F.scaled_dot_product_attention(query, query, query, attn_mask=mask)

    (said,) = told(one_step(step).assumptions, "kernel")
    assert (
        said.asked == "attention kernel for float16 (4, 12, 128, 64) on compute capability 7.5, mask (4, 1, 128, 128)"
    )
    assert said.taken == "efficient; the next candidate, math, needs 6.00 MiB more"
    assert said.times == 3
    assert said.source is not None
    assert said.source.startswith("test_estimates.py:")


def test_a_mask_that_is_not_aligned_is_padded() -> None:
    """Lines of 12 become lines of 16; lines of 16 stay."""

    def step(length: int) -> None:
        query = torch.zeros(2, 4, length, 64, device="cuda", dtype=torch.float16)
        mask = torch.zeros(2, 1, length, length, device="cuda", dtype=torch.float16)
        F.scaled_dot_product_attention(query, query, query, attn_mask=mask)

    assert [size for size, _ in births(one_step(lambda: step(12)), "constant_pad_nd")] == [2 * 12 * 16 * 2]
    assert births(one_step(lambda: step(16)), "constant_pad_nd") == []


def test_without_a_kernel_it_fails_as_torch_does() -> None:
    with recording("predicted", gpu=T4):
        query = torch.zeros(2, 4, 16, 64, device="cuda", dtype=torch.bfloat16)
        only_flash = sdpa_kernel(SDPBackend.FLASH_ATTENTION)
        with only_flash, pytest.raises(RuntimeError, match="No available kernel"):
            F.scaled_dot_product_attention(query, query, query)


def test_distances_of_many_rows_are_a_matrix_product() -> None:
    """`_euclidean_dist`: each side with two columns more, and a product that takes cuBLAS's workspace."""
    platform = Platform(capability=(8, 0), torch_version=(2, 13))
    with recording("predicted", costs=HiddenCosts(platform)) as recorder:
        recorder.phase = None
        rows, others = torch.zeros(100, 8, device="cuda"), torch.zeros(60, 8, device="cuda")
        recorder.end_step()
        torch.cdist(rows, others)
        recorder.end_step()
    assert [size for size, _ in births(recorder, "cat")] == [100 * 10 * 4, 60 * 10 * 4]
    assert 8_519_680 in [size for size, _ in births(recorder, "mm")]


def test_distances_of_few_rows_are_one_kernel() -> None:
    recorder = one_step(lambda: torch.cdist(torch.zeros(20, 8, device="cuda"), torch.zeros(20, 8, device="cuda")))
    assert births(recorder, "mm") == births(recorder, "cat") == []
