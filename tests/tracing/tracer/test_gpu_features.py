"""What a build without CUDA has no code for is traced as a GPU would run it: losses, layouts, graphs, groups of ranks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from lrtool.memory.trace.devices import devices_of, on_device
from lrtool.memory.trace.live import walk
from lrtool.results import Category
from lrtool.tracing.fake_cuda.gpu import FakeGpu
from lrtool.tracing.tracer.tracer import TracedRun, recording
from tests.tracing.tracer.test_features import traced

FLOAT, LONG = 4, 8
Loss = Callable[[nn.Module, Any], Any]


def workload(model: nn.Module, batches: list[Any], loss: Loss) -> dict[str, Any]:
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        "train_loader": batches,
        "loss": loss,
    }


def sizes_of(found: TracedRun, operator: str) -> list[int]:
    """Bytes of all allocations of an operator, in their order."""
    walked = walk(found.trace)
    born = np.flatnonzero(walked.changes > 0)
    notes = [found.trace.note(int(walked.requests[each])) for each in born]
    return [int(walked.changes[each]) for each, note in zip(born, notes, strict=True) if note.operator == operator]


def bytes_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters()) * FLOAT


TIME, BATCH, CLASSES, LONGEST = 20, 3, 8, 5


@pytest.mark.parametrize("lengths_on_gpu", [False, True])
def test_ctc_keeps_alphas_over_blanks_and_labels(lengths_on_gpu: bool) -> None:
    def build() -> dict[str, Any]:
        def loss(model: nn.Module, batch: Any) -> Tensor:
            lengths = batch[2] if lengths_on_gpu else batch[2].cpu()
            return F.ctc_loss(model(batch[0]).log_softmax(-1), batch[1], torch.full_like(lengths, TIME), lengths)

        inputs, targets = torch.randn(TIME, BATCH, 4), torch.randint(1, CLASSES, (BATCH, LONGEST + 2))
        return workload(nn.Linear(4, CLASSES), [(inputs, targets, torch.tensor([2, LONGEST, 3]))], loss)

    alphas, found = BATCH * TIME * (2 * LONGEST + 1) * FLOAT, traced(build, 1, with_workspaces=True)
    assert sizes_of(found, "_ctc_loss") == [BATCH * FLOAT, alphas]
    assert sorted(sizes_of(found, "_ctc_loss_backward")) == sorted([BATCH * TIME * CLASSES * FLOAT, alphas])


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="this torch has no grouped product")
def test_a_grouped_product_of_floats_has_rows_of_16_bytes() -> None:
    """Six columns take the room of eight, in all rows but the last."""

    def build() -> dict[str, Any]:
        model = nn.ParameterList([torch.randn(2, 8, 6)])

        def loss(model: Any, batch: Any) -> Tensor:
            return F.grouped_mm(
                batch, model[0], offs=torch.tensor([3, 10], dtype=torch.int32, device=batch.device)
            ).sum()

        return workload(model, [torch.randn(10, 8)], loss)

    assert sizes_of(traced(build, 1), "_grouped_mm")[0] == (9 * 8 + 6) * FLOAT


def test_a_grid_is_sampled_by_cudnn() -> None:
    def build() -> dict[str, Any]:
        def loss(model: nn.Module, batch: Tensor) -> Tensor:
            theta = model(batch.flatten(1)).view(-1, 2, 3)
            grid = F.affine_grid(theta, [2, 3, 5, 7], align_corners=True)
            return F.grid_sample(batch, grid, align_corners=True).sum()

        return workload(nn.Linear(3 * 4 * 4, 6), [torch.randn(2, 3, 4, 4)], loss)

    found = traced(build, 1)
    assert sizes_of(found, "cudnn_grid_sampler") == [2 * 3 * 5 * 7 * FLOAT]
    assert sizes_of(found, "cudnn_grid_sampler_backward") == [2 * 3 * 4 * 4 * FLOAT, 2 * 5 * 7 * 2 * FLOAT]


def test_the_hosts_memory_may_be_pinned() -> None:
    def build() -> dict[str, Any]:
        buffer = torch.empty(4, 8, pin_memory=True)
        pinned = [torch.tensor([1.0], pin_memory=True), torch.randn(4).pin_memory(), torch.zeros(2**19).pin_memory()]
        assert all(each.is_pinned() for each in (buffer, *pinned))

        def loss(model: nn.Module, batch: Tensor) -> Any:
            with torch.autograd.graph.save_on_cpu(pin_memory=True):
                return model(batch).sum()

        return workload(nn.Linear(8, 8), [torch.randn(4, 8)], loss)

    assert traced(build, 2).num_traced_steps == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_jagged_tensors_hold_what_is_there(dtype: torch.dtype) -> None:
    lengths, width = (3, 7, 5), 16

    def build() -> dict[str, Any]:
        def loss(model: nn.Module, batch: Tensor) -> Any:
            rows = [batch[each, :length] for each, length in enumerate(lengths)]
            nested = torch.nested.nested_tensor(rows, layout=torch.jagged)
            heads = model(nested).to(dtype).unflatten(-1, [2, width // 2]).transpose(1, 2)
            return F.scaled_dot_product_attention(heads, heads, heads).values().sum()

        return workload(nn.Linear(width, width), [torch.randn(len(lengths), 9, width)], loss)

    assert sizes_of(traced(build, 1), "addmm") == [sum(lengths) * width * FLOAT]


def test_a_sparse_matrix_moves_with_its_elements() -> None:
    places = torch.arange(10).repeat(2, 1)

    def build() -> dict[str, Any]:
        model = nn.Linear(4, 4, bias=False)
        model.register_buffer("graph", torch.sparse_coo_tensor(places, torch.ones(10), (10, 10)).coalesce())
        return workload(model, [torch.randn(10, 4)], lambda m, x: torch.sparse.mm(m.graph, m(x)).pow(2).sum())

    found = traced(build, 2)
    assert found.live_bytes[0] == 4 * 4 * FLOAT + 10 * (2 * LONG + FLOAT)
    assert found.num_traced_steps == 2


def test_a_group_of_ones_own_is_one_rank_of_it() -> None:
    """DDP keeps a bucket beside each gradient; after the step both are still there."""
    model = nn.Linear(64, 64)

    def build() -> dict[str, Any]:
        dist.init_process_group("nccl", init_method="tcp://127.0.0.1:1", rank=0, world_size=2)
        wrapped = DistributedDataParallel(nn.Linear(64, 64).cuda(), device_ids=[0])
        return workload(wrapped, [torch.randn(4, 64)], lambda m, x: m(x).sum())

    found = traced(build, 3)
    assert found.live_bytes[-1] == 3 * bytes_of(model)
    assert Category.GRADIENT_BUCKET in {note.category for note in found.trace.note_table}
    assert found.num_ranks == 2
    assert not dist.is_initialized()


def test_a_model_built_on_the_cpu_is_sharded_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.fsdp import fully_shard

    monkeypatch.setenv("WORLD_SIZE", "4")
    model = nn.Linear(64, 64)

    def build() -> dict[str, Any]:
        sharded = nn.Sequential(nn.Linear(64, 64))
        fully_shard(sharded)
        return workload(sharded, [torch.randn(4, 64)], lambda m, x: m(x).sum())

    assert traced(build, 2).live_bytes[0] == bytes_of(model) // 4


def test_shards_of_a_model_without_data_are_drawn_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """First sharded on the meta device, then allocated, and drawn by an operator that takes another one."""
    from torch.distributed.fsdp import fully_shard

    monkeypatch.setenv("WORLD_SIZE", "4")

    def build() -> dict[str, Any]:
        dist.init_process_group("nccl", rank=0)
        with torch.device("meta"):
            model = nn.Sequential(nn.Linear(64, 64, bias=False))
        fully_shard(model)
        model.to_empty(device="cuda")
        nn.init.normal_(next(model.parameters()))
        return workload(model, [torch.randn(4, 64)], lambda m, x: m(x).sum())

    assert traced(build, 2).live_bytes[0] == 64 * 64 * FLOAT // 4


def test_a_replayed_graph_allocates_nothing() -> None:
    def build() -> dict[str, Any]:
        model = nn.Linear(8, 8).cuda()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        inputs, graph = torch.zeros(4, 8, device="cuda"), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = model(inputs).sum()
            loss.backward()

        def step(batch: Tensor, optimizer: torch.optim.Optimizer) -> Any:
            inputs.copy_(batch)
            graph.replay()
            optimizer.step()
            return loss

        return {"model": model, "optimizer": optimizer, "train_loader": [torch.randn(4, 8)], "step": step}

    found = traced(build, 3)
    assert len(set(found.live_bytes)) == 1
    assert "capture" in {each.kind for each in found.assumptions}


@pytest.mark.parametrize("options", [{}, {"fullgraph": True}, {"mode": "reduce-overhead"}])
def test_compiled_code_runs_as_it_is_written(options: dict[str, Any]) -> None:
    def build(*, compiles: bool) -> dict[str, Any]:
        model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
        if compiles:
            model.compile(**options)
        return workload(model, [torch.randn(4, 8)], lambda m, x: m(x).sum())

    plain, compiled = (traced(lambda each=each: build(compiles=each), 2) for each in (False, True))
    told = [each for each in compiled.assumptions if each.kind == "compiler"]
    assert plain.live_bytes == compiled.live_bytes
    assert [(each.taken, each.times) for each in told] == [("predicted as eager", 2)]
    assert told[0].below_bytes == compiled.peak_bytes - max(compiled.live_bytes)
    assert not [each for each in plain.assumptions if each.kind == "compiler"]


def test_attention_of_ones_own_scores_is_a_kernel_where_it_is_compiled() -> None:
    from torch.nn.attention.flex_attention import flex_attention

    batch, heads, length, width = 1, 2, 32, 16
    scores = batch * heads * length * length * FLOAT

    def largest(attention: Callable[..., Any]) -> int:
        with recording("predicted") as recorder:
            query = torch.randn(batch, heads, length, width, device="cuda", requires_grad=True)
            attention(query, query, query, score_mod=lambda score, *_: score * 2).sum().backward()
            recorder.end_step()
        return recorder.log.peak_bytes

    assert largest(flex_attention) > 2 * scores
    assert largest(torch.compile(flex_attention)) < largest(flex_attention) - scores


def test_a_mask_selects_no_more_than_was_marked() -> None:
    """Of 100 rows five are marked in one mask and three in another, so that both together select eight at most."""
    with recording("predicted"):
        rows = torch.empty(2**24, device="cuda")[:400].view(100, 4)  # of too many numbers to compute them along
        some, others = (torch.zeros(100, dtype=torch.bool, device="cuda") for _ in range(2))
        some[rows[:, 0].topk(5).indices] = True
        others[rows[:, 1].topk(3).indices] = True

        assert rows[some | others].shape == (8, 4)
        assert torch.where(some)[0].shape == (5,)
        others[10:].logical_or_(rows[10:, 1] > 0)
        assert rows[others].shape == (100, 4)


def _in_parallel(width: int, *, on_host: bool) -> dict[str, Any]:
    model = nn.DataParallel(nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)).cuda())

    def step(batch: Tensor, optimizer: torch.optim.Optimizer) -> Any:
        optimizer.zero_grad()
        loss = model(batch.cpu() if on_host else batch).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss

    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return {"model": model, "optimizer": optimizer, "train_loader": [torch.randn(8, width)], "step": step}


@pytest.mark.parametrize("on_host", [False, True])
def test_replicas_take_their_parameters_and_inputs_on_each_gpu(on_host: bool) -> None:
    """Between steps the other GPUs are empty; in one, they hold the parameters in one buffer, and two of four rows each."""
    width, gpus = 64, 4
    found = traced(lambda: _in_parallel(width, on_host=on_host), 2, gpu=FakeGpu(count=gpus))
    parameters = 2 * (width * width + width) * FLOAT
    born = {number: on_device(found.trace, number) for number in range(gpus)}

    assert devices_of(found.trace) == tuple(range(gpus))
    for number in range(1, gpus):
        changes = walk(born[number]).changes
        assert changes.sum() == 0
        assert changes.max() == parameters
        assert 2 * width * FLOAT in changes


def test_one_gpu_is_taken_for_granted_where_a_program_takes_all_there_are() -> None:
    found = traced(lambda: _in_parallel(8, on_host=False), 2)

    assert [(each.kind, each.taken) for each in found.assumptions] == [
        ("devices", "1; --gpus tells how many there are")
    ]
