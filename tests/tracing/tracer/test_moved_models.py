"""A model that is built on the CPU and moved to the fake GPU keeps what hangs on its parameters, as it does on a real one."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrtool.tracing.tracer.tracer import recording
from tests.tracing.tracer.test_features import traced

SMALL, LARGE = 8, 1024
"""Widths of layers whose weights are real tensors, and fake ones, before they are moved."""
FLOAT = 4


@pytest.fixture(params=[SMALL, LARGE])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_hooks_are_called_after_the_move(width: int) -> None:
    with recording("predicted"):
        model = nn.Linear(width, width, bias=False)
        called: list[tuple[str, str]] = []
        kept = model.weight.register_hook(lambda grad: called.append(("hook", grad.device.type)))
        model.weight.register_post_accumulate_grad_hook(lambda weight: called.append(("after", weight.device.type)))
        removed = model.weight.register_hook(lambda _grad: called.append(("removed", "")))
        model.to("cuda")
        removed.remove()
        model(torch.ones(2, width, device="cuda")).sum().backward()
        kept.remove()
        model(torch.ones(2, width, device="cuda")).sum().backward()

        assert called == [("hook", "cuda"), ("after", "cuda"), ("after", "cuda")]


def test_the_parameter_is_the_one_it_was(width: int) -> None:
    with recording("predicted"):
        model = nn.Linear(width, width)
        setattr(model.weight, "is_special", True)  # noqa: B010
        named = {parameter: name for name, parameter in model.named_parameters()}
        reference, before = weakref.ref(model.weight), model.weight
        model.weight.sum().backward()
        gradient = model.weight.grad
        model.cuda()

        assert model.weight is before is reference()
        assert {named[parameter] for parameter in model.parameters()} == {"weight", "bias"}
        assert vars(model.weight)["is_special"]
        assert isinstance(model.weight, nn.Parameter)
        assert model.weight.grad is gradient
        assert (model.weight.device.type, gradient.device.type) == ("cuda", "cuda")  # type: ignore[union-attr]


def test_a_graph_from_before_the_move_does_not_hold_it_up(width: int) -> None:
    with recording("predicted"):
        model = nn.Linear(width, width)
        output = model(torch.ones(2, width))
        model.cuda()

        assert output.device.type == "cpu"
        assert model(torch.ones(2, width, device="cuda")).device.type == "cuda"


def test_tied_weights_stay_tied(width: int) -> None:
    with recording("predicted") as recorder:
        model = nn.Sequential(nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False))
        model[1].weight = model[0].weight
        model.cuda()

        assert model[0].weight is model[1].weight
        assert recorder.log.live_bytes == width * width * FLOAT


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_scripted_model_moves(width: int) -> None:
    with recording("predicted"):
        model = torch.jit.script(nn.Sequential(nn.Linear(width, width), nn.ReLU()))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        model.cuda()
        model(torch.ones(2, width, device="cuda")).sum().backward()

        assert all(parameter.grad is not None for parameter in optimizer.param_groups[0]["params"])


def test_parametrized_weights_move() -> None:
    def build() -> dict[str, Any]:
        normed = nn.utils.parametrizations.spectral_norm(nn.Linear(16, 16))
        model = nn.Sequential(normed, nn.utils.parametrizations.weight_norm(nn.Linear(16, 4)))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        batches = [torch.randn(2, 16) for _ in range(3)]
        return {"model": model, "optimizer": optimizer, "train_loader": batches, "loss": lambda m, x: m(x).sum()}

    assert traced(build).num_traced_steps == 3


def test_data_that_is_given_brings_its_device() -> None:
    with recording("predicted"):
        for size in (SMALL, LARGE * LARGE):
            tensor = torch.ones(size, requires_grad=True)
            tensor.data = tensor.data.cuda()
            (tensor * 2).sum().backward()

            assert (tensor.device.type, tensor.grad.device.type) == ("cuda", "cuda")  # type: ignore[union-attr]


WIDTH, HIDDEN, CLASSES = 64, 512, 8
PARAMETERS = ((HIDDEN * WIDTH + HIDDEN) + (CLASSES * HIDDEN + CLASSES)) * FLOAT


@pytest.mark.parametrize("is_built_on_gpu", [False, True])
def test_an_optimizer_in_backward_frees_each_gradient(is_built_on_gpu: bool) -> None:
    """Adam's two moments of every parameter stay after a step, and no gradient does."""

    def build(batch_size: int = 4) -> dict[str, Any]:
        model = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, CLASSES))
        model = model.cuda() if is_built_on_gpu else model
        own = {parameter: torch.optim.Adam([parameter], foreach=False) for parameter in model.parameters()}

        def update(parameter: Tensor) -> None:
            own[parameter].step()  # type: ignore[index]
            own[parameter].zero_grad()  # type: ignore[index]

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(update)

        def step(model: nn.Module, batch: Any) -> Tensor:
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            return loss

        batches = [(torch.randn(batch_size, WIDTH), torch.randint(CLASSES, (batch_size,))) for _ in range(3)]
        return {
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), 0.0),
            "train_loader": batches,
            "step": step,
        }

    assert traced(build).live_bytes[-1] == 3 * PARAMETERS


def test_a_model_without_data_gets_some_on_the_gpu(width: int) -> None:
    """As large language models are loaded: first on the meta device, then empty on the GPU."""

    def build() -> dict[str, Any]:
        with torch.device("meta"):
            model = nn.Sequential(nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False))
        model[1].weight = model[0].weight
        weight = model[0].weight
        model.to_empty(device="cuda")
        assert model[0].weight is model[1].weight is weight
        assert isinstance(weight, nn.Parameter)
        assert weight.requires_grad
        return {
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
            "train_loader": [torch.ones(2, width)],
            "loss": lambda m, x: m(x).sum(),
        }

    assert traced(build, 1).live_bytes == (width * width * FLOAT, 2 * width * width * FLOAT)
