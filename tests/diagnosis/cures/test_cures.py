"""What each cure saves, worked out by hand: how much less memory one more layer takes with it than without."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from lrtool.diagnosis.cure_trials.trial import CuredBuild
from lrtool.diagnosis.cures.applied import CannotHelp, CureOptions, OnlyAdvice
from lrtool.diagnosis.cures.checkpointing import named_blocks
from lrtool.diagnosis.cures.registry import CURES, find_cures
from lrtool.errors import UsageError
from lrtool.memory.replay.replay import replay
from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, trace
from lrtool.workload.blocks import repeated_blocks
from lrtool.workload.target import from_callable
from tests.diagnosis.cures import cured_models
from tests.diagnosis.cures.cured_models import ACTIVATION, WEIGHT, evaluates, keeps_gradients, tower, varying, weights

MIB = 2**20
Build = Callable[..., dict[str, Any]]


def traced(
    build: Callable[[], dict[str, Any]], *names: str, options: CureOptions | None = None, steps: int = 3
) -> TracedRun:
    cured = CuredBuild(from_callable(build, params={}), find_cures(names), options)
    return trace(cured.factory(), TraceSettings(num_steps=steps, with_workspaces=False))


def peak(build: Callable[[], dict[str, Any]], *names: str, steps: int = 3) -> int:
    return replay(traced(build, *names, steps=steps).trace).peaks.allocated_bytes


def reserved(build: Callable[[], dict[str, Any]], *names: str, steps: int = 3) -> int:
    return replay(traced(build, *names, steps=steps).trace).peaks.reserved_bytes


def saved_by_one_more(build: Build, name: str, *, few: int = 2, many: int = 4) -> float:
    """Bytes that the cure saves of each further block or layer; what comes once, such as a batch, cancels out."""
    by_number = [peak(lambda: build(number)) - peak(lambda: build(number), name) for number in (few, many)]  # noqa: B023
    return (by_number[1] - by_number[0]) / (many - few)


def test_bf16_halves_what_backward_needs_and_copies_the_weights() -> None:
    assert saved_by_one_more(tower, "bf16") == 3 * (ACTIVATION / 2 - WEIGHT / 2)


def test_checkpointing_keeps_of_a_block_of_three_results_only_its_input() -> None:
    assert saved_by_one_more(tower, "checkpointing") == 2 * ACTIVATION


def test_accumulation_keeps_a_quarter_of_the_batch_and_the_gradients_besides() -> None:
    assert saved_by_one_more(tower, "accumulation") == 3 * (ACTIVATION * 3 / 4 - WEIGHT)


def test_half_a_batch_keeps_half_of_what_backward_needs() -> None:
    assert saved_by_one_more(tower, "half-batch") == 3 * ACTIVATION / 2


@pytest.mark.parametrize(("name", "kept"), [("foreach-off", 0), ("fused", 512)])
def test_without_foreach_no_temporary_of_the_size_of_a_parameter_for_each_parameter(name: str, kept: int) -> None:
    """The fused kernel keeps the number of steps on the device: one block for each parameter."""
    assert saved_by_one_more(weights, name, few=4, many=8) == 1024 * 1024 * 4 - kept


def test_gradients_set_to_none_are_not_there_during_forward() -> None:
    assert saved_by_one_more(keeps_gradients, "set-to-none") == 3 * WEIGHT


def test_no_grad_in_evaluation_keeps_none_of_its_results() -> None:
    assert saved_by_one_more(evaluates, "no-grad") == 3 * 4 * ACTIVATION


ROWS, WIDTH, TOKENS, CLASSES = 50_000, 64, 512, 8_000


def words(optimizer: str = "SGD", tied: bool = False, **options: Any) -> dict[str, Any]:
    embedding, head = nn.Embedding(ROWS, WIDTH), nn.Linear(WIDTH, ROWS if tied else 1, bias=False)
    if tied:
        head.weight = embedding.weight
    model = nn.Sequential(embedding, head)
    return {
        "model": model,
        "optimizer": getattr(torch.optim, optimizer)(model.parameters(), lr=0.1, **options),
        "train_loader": [torch.arange(32)],
        "loss": lambda model, ids: model(ids).square().mean(),
    }


def classes() -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Linear(WIDTH, CLASSES)
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "train_loader": [(torch.randn(TOKENS, WIDTH), torch.arange(TOKENS).where(torch.arange(TOKENS) > 3, -100))],
        "loss": lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
    }


def test_sparse_gradients_have_the_rows_of_the_batch_in_place_of_all() -> None:
    saved = peak(words) - peak(words, "sparse-embedding")

    assert 4 * WIDTH * (ROWS - 3 * 32) <= saved <= 4 * WIDTH * ROWS


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: words("Adam"), "SparseAdam"),
        (lambda: words(momentum=0.9), "momentum"),
        (lambda: words(weight_decay=0.1), "weight decay"),
        (lambda: words(tied=True), "share their weights"),
        (lambda: {**words(), "clip_norm": 1.0}, "clipping"),
        (classes, "no embedding"),
    ],
)
def test_where_gradients_must_be_dense_it_says_why(build: Callable[[], dict[str, Any]], reason: str) -> None:
    with pytest.raises(CannotHelp, match=reason):
        traced(build, "sparse-embedding")


def test_a_loss_in_chunks_keeps_no_log_softmax_of_all_classes() -> None:
    """Beside the logits, backward as it is keeps their log-softmax, and makes its gradient: in chunks an eighth of each."""
    logits = 4 * TOKENS * CLASSES
    saved = peak(classes) - peak(classes, "chunked-loss")

    assert 0.7 * logits < saved < 1.8 * logits


def test_a_loss_in_chunks_is_the_same_loss() -> None:
    torch.manual_seed(0)
    workload = classes()
    build = CuredBuild(from_callable(classes, params={}), find_cures(["chunked-loss"]), None)
    cured = build.factory().build(seed=0, device=torch.device("cpu"))
    batch = workload["train_loader"][0]
    whole = workload["loss"](workload["model"], batch)
    assert cured.loss is not None
    in_chunks = cured.loss(workload["model"], batch)

    assert torch.allclose(whole, in_chunks)
    assert nn.functional.cross_entropy.__module__ == "torch.nn.functional"
    (gradient,) = torch.autograd.grad(whole, [workload["model"].weight])
    (of_chunks,) = torch.autograd.grad(in_chunks, [workload["model"].weight])
    assert torch.allclose(gradient, of_chunks, atol=1e-7)


def test_adafactor_keeps_a_row_and_a_column_in_place_of_two_matrices() -> None:
    matrices, vectors = 2 * 1024 * 1024 * 4, 2 * 1024 * 4

    saved = traced(weights).live_bytes[-1] - traced(weights, "small-state").live_bytes[-1]

    assert saved == 4 * (matrices - vectors)


def test_sgd_without_momentum_keeps_no_state() -> None:
    def build() -> dict[str, Any]:
        return weights(optimizer="SGD", momentum=0.9)

    assert traced(build).live_bytes[-1] - traced(build, "small-state").live_bytes[-1] == 4 * 1024 * 1024 * 4


class Adam8bit(torch.optim.Optimizer):
    """What a library's 8-bit Adam keeps: two bytes for each element."""

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: Any = None, eps: float = 0, weight_decay: float = 0
    ) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                for name in ("exp_avg", "exp_avg_sq"):
                    self.state[parameter].setdefault(name, torch.zeros_like(parameter, dtype=torch.uint8))


def test_8_bit_states_take_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    library, module = ModuleType("bitsandbytes"), ModuleType("bitsandbytes.optim")
    library.__spec__ = module.__spec__ = torch.__spec__
    module.Adam8bit = Adam8bit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bitsandbytes", library)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", module)

    saved = traced(weights).live_bytes[-1] - traced(weights, "8-bit").live_bytes[-1]

    assert saved == 4 * 2 * (1024 * 1024 * 4) * 3 / 4


def test_8_bit_states_of_torchao_have_a_scale_for_each_256_elements_and_a_table_of_256_values() -> None:
    pytest.importorskip("torchao")
    elements = 1024 * 1024

    saved = traced(weights).live_bytes[-1] - traced(weights, "8-bit").live_bytes[-1]

    assert saved == 4 * 2 * (elements * 3 - elements // 256 * 4 - 256 * 4)


def test_an_emptied_cache_holds_no_batch_of_an_earlier_step() -> None:
    def build() -> dict[str, Any]:
        return varying(30, 40, 50)

    small = 2 * MIB  # the segment of the weight, its gradient and the loss
    assert reserved(build) == (30 + 40 + 50) * MIB + small
    assert reserved(build, "empty-cache") == 50 * MIB + small


def test_the_longest_batch_first_leaves_room_for_all_others() -> None:
    def build() -> dict[str, Any]:
        return varying(30, 40, 50)

    assert reserved(build, "longest-first") == 50 * MIB + 2 * MIB


def test_bucketing_is_advice_with_the_sizes_that_speak_for_it() -> None:
    with pytest.raises(OnlyAdvice, match=r"largest of 3 batches holds 5\.0 times .*\(262,144 to 2,621,440\)"):
        traced(lambda: varying(1, 2, 10), "bucketing")


def own_step(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = model(batch)
    return loss


@pytest.mark.parametrize(
    ("name", "build", "reason"),
    [
        ("bf16", lambda: tower(precision="bf16"), "its precision is bf16 already"),
        ("checkpointing", lambda: weights(2), "no repeated blocks were found"),
        ("accumulation", lambda: tower(rows=1), "a batch has one sample only"),
        ("accumulation", lambda: tower(step=own_step), "its own step decides"),
        ("half-batch", lambda: tower(rows=1), "a batch has one sample only"),
        ("foreach-off", lambda: weights(foreach=False), "Adam does not use them here"),
        ("foreach-off", lambda: weights(fused=True), "Adam does not use them here"),
        ("fused", lambda: weights(fused=True), "it is on already"),
        ("fused", lambda: weights(optimizer="RMSprop"), "RMSprop has no fused kernel"),
        ("set-to-none", tower, "set to None already"),
        ("8-bit", lambda: tower(optimizer="SGD"), "there is no 8-bit SGD"),
        ("small-state", lambda: tower(optimizer="SGD"), "SGD keeps no state"),
        ("small-state", lambda: tower(optimizer="Adam", step=own_step),
         "its own step brings its own optimizer"),
        ("no-grad", tower, "its steps evaluate nothing"),
        ("longest-first", tower, "all batches seen have the same shape"),
        ("longest-first", lambda: varying(3, 2, 1), "comes first already"),
        ("bucketing", tower, "all batches seen have the same shape"),
    ],
)  # fmt: skip
def test_a_cure_that_has_nothing_to_do_says_why(name: str, build: Callable[[], dict[str, Any]], reason: str) -> None:
    with pytest.raises(CannotHelp, match=reason):
        traced(build, name)


def test_8_bit_states_need_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrtool.diagnosis.cures.optimizers.find_spec", lambda name: None)

    with pytest.raises(CannotHelp, match="neither bitsandbytes nor torchao is installed"):
        traced(weights, "8-bit")


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("bf16", weights), ("accumulation", weights), ("foreach-off", lambda: weights(1)), ("half-batch", weights),
        ("foreach-off", tower), ("fused", tower), ("empty-cache", tower),
        ("no-grad", keeps_gradients), ("set-to-none", evaluates),
    ],
)  # fmt: skip
def test_where_memory_goes_elsewhere_a_cure_saves_nothing_worth_it(
    name: str, build: Callable[[], dict[str, Any]]
) -> None:
    without = peak(build)

    assert without - peak(build, name) <= 0.03 * without


def test_every_cure_carries_the_lines_that_apply_it() -> None:
    builds = {"set-to-none": keeps_gradients, "no-grad": evaluates, "longest-first": lambda: varying(1, 2),
              "sparse-embedding": words, "chunked-loss": classes}  # fmt: skip
    for cure in CURES:
        if cure.name in ("bucketing", "8-bit"):
            continue
        optimizer = "Adam" if cure.name in ("foreach-off", "fused", "small-state") else "SGD"
        build = CuredBuild(from_callable(builds.get(cure.name, lambda: tower(optimizer=optimizer)), params={}), [cure])  # noqa: B023
        build.factory().build(seed=0, device=torch.device("cpu"))
        assert 1 <= len(build.how) <= 3, cure.name
        assert all(len(line) <= 90 for line in build.how), cure.name


def test_several_cures_are_applied_at_once_and_their_lines_joined() -> None:
    names = ("fused", "bf16", "checkpointing")

    together = peak(lambda: tower(4, optimizer="Adam"), *names)

    assert [cure.name for cure in find_cures(names)] == ["bf16", "checkpointing", "fused"]
    assert together < min(peak(lambda: tower(4, optimizer="Adam"), name) for name in names)


def test_an_unknown_cure_is_met_with_its_nearest_spelling() -> None:
    with pytest.raises(UsageError) as raised:
        find_cures(["checkpoint"])

    assert raised.value.hint == "did you mean 'checkpointing'?"


# -- the same training ----------------------------------------------------------------------------------------------------


def trained(*names: str, build: Callable[[], dict[str, Any]]) -> torch.Tensor:
    from lrtool.workload.batches import Batches
    from lrtool.workload.step import make_step

    cpu = torch.device("cpu")
    workload = CuredBuild(from_callable(build, params={}), find_cures(names)).factory().build(seed=0, device=cpu)
    step = make_step(workload, cpu, Batches(workload.train_loader))
    for _ in range(3):
        step()
    return torch.cat([parameter.detach().flatten() for parameter in workload.model.parameters()])


def regression() -> dict[str, Any]:
    """Random batches from a shuffled loader, in two blocks, with AdamW."""
    model = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(4)))
    data = torch.utils.data.TensorDataset(torch.randn(48, 8), torch.randn(48, 8))
    loader = torch.utils.data.DataLoader(data, batch_size=12, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return {"model": model, "optimizer": optimizer, "train_loader": loader,
            "loss": lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1])}  # fmt: skip


@pytest.mark.parametrize("name", ["checkpointing", "accumulation", "foreach-off", "fused", "empty-cache"])
def test_cures_that_leave_the_training_alone_train_the_same_weights_on_the_same_batches(name: str) -> None:
    torch.testing.assert_close(trained(name, build=regression), trained(build=regression), rtol=1e-4, atol=1e-6)


# -- what to checkpoint ---------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attention, self.cross_attention = nn.MultiheadAttention(4, 1), nn.MultiheadAttention(4, 1)


def stages() -> nn.Module:
    """As a ResNet: rows of blocks within rows of stages."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), *(nn.Sequential(Residual(), Residual()) for _ in range(3)), nn.Flatten())


class Pair(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.left, self.right = cured_models.Tower(depth), cured_models.Tower(depth)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (cured_models.Tower(3), ["blocks.0", "blocks.1", "blocks.2"]),
        (stages(), [f"{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)]),
        (nn.ModuleList(Decoder() for _ in range(3)), ["0", "1", "2"]),
        (nn.ModuleList(Decoder() for _ in range(2)), ["0", "1"]),
        (Pair(3), [f"{side}.blocks.{block}" for side in ("left", "right") for block in range(3)]),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), []),
        (nn.Linear(2, 2), []),
    ],
    ids=["tower", "stages", "decoders", "two decoders", "pair of towers", "layers", "layer"],
)
def test_repeated_blocks_are_found_from_the_outside_in(model: nn.Module, names: list[str]) -> None:
    assert [block.name for block in repeated_blocks(model)] == names


def test_modules_may_be_named_by_pattern_and_a_wrong_name_is_told() -> None:
    model = cured_models.Tower(3)

    assert [block.name for block in named_blocks(model, ["blocks.*"])] == ["blocks.0", "blocks.1", "blocks.2"]
    assert [block.name for block in named_blocks(model, ["blocks.1"])] == ["blocks.1"]
    with pytest.raises(UsageError, match=r"no module 'block\.1'"):
        named_blocks(model, ["block.1"])


def test_a_model_of_transformers_is_checkpointed_by_its_own_method() -> None:
    transformers = pytest.importorskip("transformers")

    def build() -> dict[str, Any]:
        config = transformers.GPT2Config(n_layer=4, n_embd=64, n_head=2, vocab_size=100, n_positions=64)
        model = transformers.GPT2LMHeadModel(config)
        ids = torch.zeros(8, 64, dtype=torch.int64)
        return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
                "train_loader": [{"input_ids": ids, "labels": ids}]}  # fmt: skip

    cured = CuredBuild(from_callable(build, params={}), find_cures(["checkpointing"]))
    cured.factory().build(seed=0, device=torch.device("cpu"))

    assert cured.how == ('model.gradient_checkpointing_enable({"use_reentrant": False})',)


def test_named_modules_alone_are_checkpointed() -> None:
    one = CureOptions(modules=("blocks.0",))

    with_one = replay(traced(lambda: tower(4), "checkpointing", options=one).trace).peaks.allocated_bytes

    assert peak(lambda: tower(4)) - with_one == 2 * ACTIVATION


def test_a_long_sequential_is_checkpointed_in_pieces() -> None:
    def build(length: int = 16) -> dict[str, Any]:
        layers = [each for _ in range(length // 2) for each in (nn.Linear(256, 256, bias=False), nn.ReLU())]
        model = nn.Sequential(*layers)
        return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
                "train_loader": [torch.zeros(4096, 256)], "loss": lambda model, batch: model(batch).sum()}  # fmt: skip

    # of the batch and eight results, six are kept; the peak comes when one weight's gradient is there
    assert peak(build) - peak(build, "checkpointing") == 3 * ACTIVATION - WEIGHT
