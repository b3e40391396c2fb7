"""A traced run replayed: where in it a request stands, and which card it pretends."""

import pytest

from lrtool.memory.allocator.versions import TorchVersion
from lrtool.memory.recorders import predicted as traced
from lrtool.memory.recorders.predicted import fake_gpu, record_traced
from lrtool.memory.recorders.recording import RecordSettings
from lrtool.memory.trace.allocation_trace import Op
from lrtool.memory.trace.builder import TraceBuilder
from lrtool.memory.trace.steps import step_of
from lrtool.tracing.fake_cuda.gpu import H100
from lrtool.workload.target import from_callable
from tests.tracing.tracer import traced_models as models


def test_a_request_stands_in_its_step_also_where_steps_are_stored_once() -> None:
    builder = TraceBuilder()
    builder.alloc("weights", 512)
    builder.begin_repeat(3)
    for _ in range(2):
        builder.call(Op.STEP)
        builder.alloc("activation", 512)
        builder.free("activation")
    builder.end_repeat()
    builder.call(Op.STEP)
    builder.alloc("last", 512)
    trace = builder.build()

    steps = [step_of(trace, request) for request in range(len(trace))]
    assert steps == [0, *(step for step in range(1, 7) for _ in range(3)), 7, 7]


def test_every_card_can_be_pretended() -> None:
    assert fake_gpu("rtx4090").capability == (8, 9)
    assert fake_gpu("h100").capability == H100.capability


@pytest.mark.parametrize("name", ["none", ""])
def test_an_unknown_card_is_an_h100(name: str) -> None:
    assert fake_gpu(name) == H100


@pytest.mark.parametrize(("version", "works"), [(TorchVersion(2, 9), False), (TorchVersion(2, 10), True)])
def test_the_allocator_is_that_of_the_torch_that_runs(
    version: TorchVersion, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traced, "torch_version", lambda: version)
    settings = RecordSettings(recorder="predicted", num_steps=2, seed=0, settings="max_split_size_mb:20")

    recording = record_traced(from_callable(models.mlp, params={}), settings)

    assert (recording.error is None) is works, "2.10 allows 20 MiB, earlier releases more than that only"
