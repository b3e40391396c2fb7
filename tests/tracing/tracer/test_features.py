"""What user code does on a GPU works on the fake one: precision, optimizers, attention, recurrence, data that decides."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lrtool.errors import WorkloadError
from lrtool.memory.trace.allocation_trace import Op
from lrtool.tracing.fake_cuda.gpu import FakeGpu, fake_cuda
from lrtool.tracing.tracer import canary
from lrtool.tracing.tracer.storage_recorder import StorageRecorder
from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, recording, trace
from lrtool.tracing.workspaces.operators import HiddenCosts
from lrtool.tracing.workspaces.platform import Platform
from lrtool.workload.target import from_callable
from tests.tracing.tracer import traced_models as models

Step = Callable[[], object]


def traced(build: Callable[..., Any], num_steps: int = 3, **settings: Any) -> TracedRun:
    settings = {"until_steady": False, "with_workspaces": False} | settings
    return trace(from_callable(build, params={}), TraceSettings(num_steps=num_steps, **settings))


def notes(found: TracedRun) -> set[tuple[str | None, str | None]]:
    return {(note.phase, note.category) for note in found.trace.note_table}


@contextmanager
def three_steps(step_of: Callable[[], Step]) -> Iterator[StorageRecorder]:
    """The recorder after a loop of the user's own was built and ran three steps on the fake GPU."""
    with recording("predicted") as recorder:
        step = step_of()
        recorder.phase = None
        recorder.end_step()
        for _ in range(3):
            step()
            recorder.end_step()
        yield recorder


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "sgd fused": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, fused=True),
    "adam": torch.optim.Adam,
    "adamw foreach": lambda p: torch.optim.AdamW(p, foreach=True),
    "adamw for-loop": lambda p: torch.optim.AdamW(p, foreach=False),
    "adamw fused": lambda p: torch.optim.AdamW(p, fused=True),
    "adamw capturable": lambda p: torch.optim.AdamW(p, capturable=True),
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adafactor": torch.optim.Adafactor,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    def step_of() -> Step:
        model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 8)).cuda()
        optimizer = OPTIMIZERS[name](model.parameters())

        def step() -> None:
            optimizer.zero_grad()
            model(torch.randn(4, 64, device="cuda")).sum().backward()
            optimizer.step()

        return step

    with three_steps(step_of) as recorder:
        assert recorder.log.steps[2].digest == recorder.log.steps[3].digest
        assert recorder.log.live_bytes_at_ends[-1] > 0


def test_default_optimizers_take_the_foreach_path_of_a_gpu() -> None:
    def build(foreach: bool | None = None) -> dict[str, Any]:
        workload = models.mlp()
        workload["optimizer"] = torch.optim.AdamW(workload["model"].parameters(), foreach=foreach)
        return workload

    by_default, asked, for_loop = (
        trace(
            from_callable(build, params={"foreach": choice}),
            TraceSettings(num_steps=2, until_steady=False, with_workspaces=False),
        ).trace.values.tolist()
        for choice in (None, True, False)
    )
    assert by_default == asked != for_loop


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_and_grad_scaler(precision: str) -> None:
    found = traced(lambda: models.gpt() | {"precision": precision})

    assert ("optimizer", "optimizer state") in notes(found), "the scaler must not skip the steps"


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_run_as_one_cudnn_operator(kind: Callable[..., nn.RNNBase]) -> None:
    def step_of(time: int) -> Step:
        network = kind(16, 32, num_layers=2, batch_first=True).cuda()
        return lambda: network(torch.randn(4, time, 16, device="cuda"))[0].sum().backward()

    births = set()
    for time in (8, 64):
        with three_steps(partial(step_of, time)) as recorder:
            births.add(len(recorder.log.steps[3].notes))
    assert len(births) == 1


def test_checkpointing_keeps_less() -> None:
    assert max(traced(models.gpt_checkpointed).live_bytes) == max(traced(models.gpt).live_bytes)
    assert peak(traced(models.gpt_checkpointed)) < peak(traced(models.gpt))


def peak(found: TracedRun) -> int:
    sizes: dict[int, int] = {}
    total = most = 0
    for op, slot, value in zip(found.trace.ops, found.trace.slots, found.trace.values, strict=True):
        if op == Op.ALLOC:
            sizes[slot] = value
            total += value
            most = max(most, total)
        elif op == Op.FREE:
            total -= sizes[slot]
    return most


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", [None, torch.bool])
def test_attention_never_makes_the_score_matrix(dtype: torch.dtype, mask: torch.dtype | None) -> None:
    heads, time = 8, 256

    def step_of() -> Step:
        query = torch.randn(2, heads, time, 64, device="cuda", dtype=dtype, requires_grad=True)
        seen = None if mask is None else torch.ones(2, 1, time, time, device="cuda", dtype=mask)
        return lambda: F.scaled_dot_product_attention(query, query, query, attn_mask=seen).sum().backward()

    with three_steps(step_of) as recorder:
        scores = 2 * heads * time * time * query_bytes(dtype)
        births = [request[1] for request in recorder.log.steps[3].requests if request[0] == Op.ALLOC]
        assert max(births) < scores


def query_bytes(dtype: torch.dtype) -> int:
    return torch.empty((), dtype=dtype).element_size()


def _reads_values() -> Step:
    model, history = nn.Linear(10, 3).cuda(), []

    def step() -> None:
        loss = model(torch.randn(4, 10).cuda()).pow(2).mean()
        loss.backward()
        history.append(loss.item())
        assert f"{loss.detach():.3f} {float(loss.detach())}"
        if torch.isnan(loss) or not torch.isfinite(loss).all():
            raise RuntimeError("not finite")

    return step


def _selects_by_mask() -> Step:
    model = nn.Linear(10, 3).cuda()

    def step() -> None:
        out = model(torch.randn(40, 10, device="cuda"))
        mask = torch.arange(40, device="cuda") % 2 == 0
        (
            out[mask].sum() + out[torch.nonzero(mask).squeeze(1)].sum() + torch.masked_select(out, mask[:, None]).sum()
        ).backward()
        torch.unique(torch.arange(10, device="cuda") // 2)

    return step


def _copies_state() -> Step:
    model = nn.Linear(10, 10).cuda()
    average = copy.deepcopy(model)

    def step() -> None:
        model(torch.randn(3, 10, device="cuda")).sum().backward()
        model.load_state_dict(copy.deepcopy(model.state_dict()))
        for mine, other in zip(average.parameters(), model.parameters(), strict=True):
            mine.data.mul_(0.9).add_(other.data, alpha=0.1)

    return step


def _uses_numpy_and_workers() -> Step:
    data = TensorDataset(torch.randn(64, 10), torch.randint(0, 3, (64,)))
    loader = DataLoader(data, batch_size=16, shuffle=True, pin_memory=True, num_workers=1)
    model = nn.Linear(10, 3).cuda()

    def step() -> None:
        for x, y in loader:
            out = model(x.to("cuda", non_blocking=True))
            F.cross_entropy(out, y.cuda()).backward()
            out.argmax(1).cpu().numpy()

    return step


def _penalizes_gradients() -> Step:
    model = nn.Linear(10, 1).cuda()

    def step() -> None:
        x = torch.randn(4, 10, device="cuda", requires_grad=True)
        (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        (gradient.norm(2, 1) - 1).pow(2).mean().backward()

    return step


def _packs_sequences() -> Step:
    network = nn.LSTM(8, 16, batch_first=True).cuda()

    def step() -> None:
        packed = nn.utils.rnn.pack_padded_sequence(
            torch.randn(4, 10, 8, device="cuda"), torch.tensor([10, 8, 5, 2]), batch_first=True
        )
        nn.utils.rnn.pad_packed_sequence(network(packed)[0], batch_first=True)[0].sum().backward()

    return step


@pytest.mark.parametrize(
    "step_of",
    [_reads_values, _selects_by_mask, _copies_state, _uses_numpy_and_workers, _penalizes_gradients, _packs_sequences],
)
def test_user_code_runs(step_of: Callable[[], Step]) -> None:
    with three_steps(step_of) as recorder:
        assert recorder.log.live_bytes > 0
        assert recorder.log.steps[2].digest == recorder.log.steps[3].digest


def test_lengths_drawn_in_build_and_the_last_smaller_batch_have_their_true_shapes() -> None:
    def build() -> dict[str, Any]:
        lengths = torch.randint(10, 90, (5,), generator=torch.Generator().manual_seed(3)).tolist()
        assert len(set(lengths)) > 1
        model = nn.Linear(4, 1)
        return {
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
            "train_loader": [torch.zeros(length, 4) for length in lengths],
            "loss": lambda model, batch: model(batch).mean(),
        }

    found = trace(from_callable(build, params={}), TraceSettings(num_steps=1000))

    assert found.period is not None
    assert found.period.num_steps == 5
    assert found.num_traced_steps < 20
    assert len(found.trace) > 50 * len(found.trace.ops)


def test_streams_of_the_user_are_kept_apart() -> None:
    def step_of() -> Step:
        side = torch.cuda.Stream()

        def step() -> None:
            with torch.cuda.stream(side):
                torch.randn(1000, device="cuda").record_stream(torch.cuda.current_stream())
            torch.cuda.empty_cache()

        return step

    with three_steps(step_of) as recorder:
        ops = [request[0] for request in recorder.log.steps[2].requests]
        assert ops == [Op.ALLOC, Op.RECORD_STREAM, Op.FREE, Op.EMPTY_CACHE]
        assert recorder.log.steps[2].requests[0] == (Op.ALLOC, 4000, 1)


def test_every_allocation_tells_phase_category_and_line() -> None:
    found = traced(lambda: models.gpt())

    expected = {("build", "parameter"), ("forward", "input"), ("forward", "activation"), ("forward", "temporary"),
                ("backward", "temporary"), ("backward", "gradient"), ("optimizer", "optimizer state")}  # fmt: skip
    assert expected <= notes(found)
    kept = {n.source for n in found.trace.note_table if n.phase == "forward" and n.category == "activation"}
    lines = kept - {None}  # the loss's own gradient is made by no line of the user
    assert len(lines) > 5
    assert all(line is not None and line.startswith("traced_models.py:") for line in lines)


def test_evaluation_is_a_phase_of_its_own() -> None:
    def build() -> dict[str, Any]:
        def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
            loss = model(batch[0]).pow(2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            model.eval()
            with torch.no_grad():
                model(batch[0])
            model.train()
            return loss  # type: ignore[no-any-return]

        return models.mlp() | {"step": step}

    assert ("evaluation", "temporary") in notes(traced(build))


def test_what_the_users_code_raises_comes_through() -> None:
    def build() -> dict[str, Any]:
        return models.mlp() | {"loss": lambda model, batch: model(batch[0][:, :7]).sum()}

    with pytest.raises(WorkloadError, match="the training step raised RuntimeError"):
        traced(build)


def test_everything_is_put_back() -> None:
    names = ("is_available", "Stream", "memory_allocated", "empty_cache", "get_device_capability")
    before = [getattr(torch.cuda, name) for name in names] + [torch.Generator, torch.save, torch.utils.swap_tensors]
    hooks = [DataLoader.__dict__.get("_get_iterator"), torch.UntypedStorage.resize_, nn.RNNBase.flatten_parameters]

    traced(models.gpt)
    with pytest.raises(ZeroDivisionError), recording("predicted"):
        raise ZeroDivisionError

    assert before == [getattr(torch.cuda, name) for name in names] + [
        torch.Generator,
        torch.save,
        torch.utils.swap_tensors,
    ]
    assert hooks == [DataLoader.__dict__["_get_iterator"], torch.UntypedStorage.resize_, nn.RNNBase.flatten_parameters]
    model = nn.Linear(4, 4)
    model(torch.ones(2, 4)).sum().backward()
    assert model.weight.grad is not None
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            torch.ones(1).cuda()


def test_the_canary_comes_back() -> None:
    assert canary.send_canary() == canary.Canary(is_trusted=True)


def test_a_canary_that_differs_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "EXPECTED", (7, *canary.EXPECTED[1:]))

    found = canary.send_canary()

    assert not found.is_trusted
    assert found.reason is not None
    assert "should be +7" in found.reason


def test_a_torch_without_the_private_call_is_no_ground_for_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_ensureCUDADeviceGuardSet")

    found = canary.send_canary()

    assert not found.is_trusted
    assert found.reason is not None
    assert "no fake CUDA device" in found.reason


def test_a_fake_gpu_answers_for_itself() -> None:
    with fake_cuda(FakeGpu(capability=(8, 6), total_bytes=24 * 2**30)) as mode:
        assert isinstance(mode, FakeTensorMode)
        assert torch.cuda.get_device_capability() == (8, 6)
        assert torch.cuda.mem_get_info()[1] == 24 * 2**30


def test_cublas_keeps_one_workspace_per_stream_until_torch_2_15() -> None:
    x = torch.empty(4, 4, device="meta")
    old = HiddenCosts(Platform(capability=(9, 0), torch_version=(2, 14)))
    assert old.of("mm", (x, x)) == ((32 * 2**20,), ())
    assert old.of("addmm", (x, x, x)) == ((), ())
    assert old.of("mm", (x, x), queue=(0, 1)) == ((32 * 2**20,), ())
    assert old.of("mm", (x, x), in_backward=True) == ((32 * 2**20,), ()), "autograd's thread has its own handle"

    new = HiddenCosts(Platform(capability=(8, 0), torch_version=(2, 15)))
    assert new.of("mm", (x, x)) == new.of("mm", (x, x)) == ((), (8_519_680,))


@pytest.mark.parametrize(
    ("capability", "version", "mebibytes"),
    [
        ((8, 9), (2, 13), 8.125),
        ((9, 0), (2, 6), 32),
        ((10, 0), (2, 11), 8.125),
        ((10, 0), (2, 12), 32),
        ((11, 0), (2, 13), 8.125),
        ((11, 0), (2, 14), 32),
        ((12, 0), (2, 11), 8.125),
        ((12, 0), (2, 12), 32),
    ],
)
def test_cublas_takes_more_on_hopper_and_later_on_blackwell(
    capability: tuple[int, int], version: tuple[int, int], mebibytes: float
) -> None:
    platform = Platform(capability=capability, torch_version=version)
    assert platform.cublas_workspace_bytes == mebibytes * 2**20


def test_cublas_follows_its_environment_variable() -> None:
    platform = Platform(capability=(9, 0), torch_version=(2, 13), cublas_config=":4096:2:16:8")
    assert platform.cublas_workspace_bytes == 8_519_680


def test_what_the_engine_does_in_place_has_its_workspaces() -> None:
    trace = traced(models.selecting, with_workspaces=True).trace

    made = [note for note in map(trace.note, range(len(trace.ops))) if note.operator == "index_put_"]

    assert {(note.phase, note.category) for note in made} == {("backward", "workspace")}


def test_workspaces_enter_the_trace() -> None:
    found = traced(models.gpt, with_workspaces=True)
    assert ("forward", "workspace") in notes(found)


def test_values_that_follow_from_the_batch_are_known_on_the_fake_gpu() -> None:
    lengths, ids = torch.tensor([3, 5]), torch.arange(10).reshape(2, 5)
    with recording("predicted"):
        mask = torch.arange(5, device="cuda") < lengths.cuda()[:, None]
        assert int(mask.sum()) == 8
        assert not mask.all()
        assert bool((ids.cuda()[1] >= 5).all())
        assert ids.cuda().max().item() == 9
        assert mask.int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
        assert mask.nonzero().shape == (8, 2)
        assert mask.nonzero().max().item() == 4

        moved = ids.cuda()
        moved += 1
        assert moved.max().item() == 10
        assert torch.randint(5, 9, (1,), device="cuda").item() in range(5, 9)


@pytest.mark.parametrize("padded", [False, True])
def test_a_mask_that_masks_nothing_costs_no_attention_mask(padded: bool) -> None:
    transformers = pytest.importorskip("transformers")

    def operators(mask: Tensor | None) -> list[str]:
        def build() -> dict[str, Any]:
            sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
            model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, vocab_size=500))
            tokens = torch.randint(0, 500, (2, 32))
            batch = {"input_ids": tokens, "labels": tokens} | ({} if mask is None else {"attention_mask": mask})
            return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1), "train_loader": [batch]}

        trace = traced(build, num_steps=2).trace
        made = (index for index, op in enumerate(trace.ops) if op == Op.ALLOC)
        return [trace.note(index).operator or "" for index in made if trace.values[index] >= 2 * 32 * 32]

    mask = torch.ones(2, 32, dtype=torch.int64)
    mask[0, 20:] = 0 if padded else 1

    assert (operators(mask) == operators(None)) is not padded


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
def test_hugging_face_models_from_config(name: str) -> None:
    transformers = pytest.importorskip("transformers")

    def build() -> dict[str, Any]:
        small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 500}
        model = {
            "gpt2": lambda: transformers.GPT2LMHeadModel(
                transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=500)
            ),
            "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**small, intermediate_size=128)),
            "llama": lambda: transformers.LlamaForCausalLM(
                transformers.LlamaConfig(**small, intermediate_size=128, num_key_value_heads=2)
            ),
        }[name]()
        tokens = torch.randint(0, 500, (2, 32))
        batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}
        return {"model": model, "optimizer": torch.optim.AdamW(model.parameters()), "train_loader": [batch, batch]}

    found = trace(from_callable(build, params={}), TraceSettings(num_steps=100))

    assert found.period is not None
    assert found.leaks == ()


def test_an_epoch_too_long_to_trace_is_said_to_be_so() -> None:
    def build() -> dict[str, Any]:
        model = nn.Linear(4, 1)
        data = TensorDataset(torch.zeros(3001, 4))
        return {
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
            "train_loader": DataLoader(data, batch_size=2),
            "loss": lambda model, batch: model(batch[0]).mean(),
        }

    found = trace(from_callable(build, params={}), TraceSettings(num_steps=7000))

    assert found.num_traced_steps < 10
    assert "1501 steps" in found.warnings[0]


def test_every_request_names_the_operator_that_made_it() -> None:
    trace = traced(lambda: models.mlp(batch=8, width=64), with_workspaces=True).trace
    made = {(note.category, note.operator) for note in trace.note_table if note.phase == "forward"}

    assert {("temporary", "addmm"), ("workspace", "addmm"), ("activation", "relu")} <= made
    assert all(operator is not None for _, operator in made)


def test_inference_mode_hides_no_temporaries() -> None:
    """There, operators made of others arrive whole, and what they make on the way would not be seen."""

    def evaluated(mode: Callable[[], Any]) -> list[int]:
        def build() -> dict[str, Any]:
            model = nn.MultiheadAttention(64, 4)
            optimizer = torch.optim.SGD(model.parameters(), 0.1)

            def step(model: nn.Module, batch: Any) -> Tensor:
                x = batch[0]
                with mode():
                    scores = torch.einsum("bqhd,bkhd->bhqk", x.unflatten(-1, (4, 16)), x.unflatten(-1, (4, 16)))
                    out = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), x.unflatten(-1, (4, 16)))
                    attended = F.rms_norm(model(x, x, x)[0], (64,))
                    return (attended @ out.flatten(2).mT).std()

            data = TensorDataset(torch.randn(8, 32, 64))
            return {"model": model, "optimizer": optimizer, "train_loader": DataLoader(data, 4), "step": step}

        trace = traced(build).trace
        return [value for op, value in zip(trace.ops, trace.values, strict=True) if op == Op.ALLOC]

    assert evaluated(torch.inference_mode) == evaluated(torch.no_grad)


def test_data_of_a_small_parameter_can_be_replaced_by_a_tensor_on_the_gpu() -> None:
    def step_of() -> Step:
        layer = nn.Linear(8, 8, bias=False)
        optimizer = torch.optim.SGD(layer.parameters(), 0.1)
        layer.weight.data = torch.ones(8, 8, device="cuda")
        assert isinstance(layer.weight, nn.Parameter)
        assert layer.weight.device.type == "cuda"
        assert layer.weight.requires_grad

        def step() -> None:
            optimizer.zero_grad()
            layer(torch.randn(4, 8, device="cuda")).sum().backward()
            assert layer.weight.grad is not None
            optimizer.step()

        return step

    with three_steps(step_of) as recorder:
        assert recorder.log.steps[2].digest == recorder.log.steps[3].digest
