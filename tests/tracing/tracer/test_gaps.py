"""What the fake GPU lacks is told as that, with the user's line; what the user's code does wrong stays theirs."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrtool.errors import UnavailableError, WorkloadError
from lrtool.tracing.fake_cuda.gaps import missing_operator
from tests.tracing.tracer.test_features import traced

Loss = Callable[[nn.Module, Tensor], Any]


def _positive(x: Tensor) -> Tensor:
    return x[x > 0].clone()


@pytest.fixture
def own_operator() -> Iterator[Callable[[Tensor], Tensor]]:
    """An operator with a kernel for the CPU alone, which tells nothing of shapes."""
    library = torch.library.Library("lrtool_tests", "FRAGMENT")
    library.define("sorted_out(Tensor x) -> Tensor")
    library.impl("sorted_out", _positive, "CPU")
    yield torch.ops.lrtool_tests.sorted_out.default
    library._destroy()


def built(loss: Loss) -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        model = nn.Linear(4, 4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return {"model": model, "optimizer": optimizer, "train_loader": [torch.ones(2, 4)], "loss": loss}

    return build


def test_an_operator_without_shapes_cannot_be_predicted(own_operator: Callable[[Tensor], Tensor]) -> None:
    def loss(model: nn.Module, batch: Tensor) -> Any:
        return own_operator(model(batch).detach()).sum() + model(batch).sum()

    with pytest.raises(UnavailableError, match=r"^cannot be predicted: lrtool_tests::sorted_out at test_gaps.py:\d+$"):
        traced(built(loss))


def test_so_it_is_where_earlier_steps_went_well(own_operator: Callable[[Tensor], Tensor]) -> None:
    steps = []

    def loss(model: nn.Module, batch: Tensor) -> Any:
        steps.append(1)
        return own_operator(model(batch).detach()).sum() if len(steps) > 2 else model(batch).sum()

    with pytest.raises(UnavailableError, match="cannot be predicted"):
        traced(built(loss), keeps_failed=True)


def wrong_shapes(model: nn.Module, batch: Tensor) -> Any:
    return model(batch[:, :3]).sum()


def wrong_key(model: nn.Module, batch: Tensor) -> Any:
    return {"loss": model(batch).sum()}["los"]


def wrong_device(model: nn.Module, batch: Tensor) -> Any:
    return (model(batch) + torch.ones(2, 4, device="cpu")).sum()


def wrong_type(model: nn.Module, batch: Tensor) -> Any:
    return nn.functional.cross_entropy(model(batch), "label")  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", [wrong_shapes, wrong_key, wrong_device, wrong_type])
def test_mistakes_are_the_users(loss: Loss) -> None:
    with pytest.raises(WorkloadError, match="the training step raised"):
        traced(built(loss))


def test_a_real_run_lacks_nothing(own_operator: Callable[[Tensor], Tensor]) -> None:
    def loss(model: nn.Module, batch: Tensor) -> Any:
        return own_operator(model(batch).detach()).sum() + model(batch).sum()

    assert traced(built(loss), kind="cpu").num_traced_steps == 3


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ("Could not run 'aten::_use_it.Tensor' with arguments from the 'CPU' backend. This", "aten::_use_it.Tensor"),
        ("There was no rule registered for HigherOrderOperator scan and mode <x>", "scan"),
        ("Tried to instantiate dummy base class CUDAGraph", "CUDAGraph"),
        ("module 'torch._C' has no attribute '_cuda_sleep'", "torch._C"),
        ("mine::it: attempted to run this operator with Meta tensors, but there was no fake impl", "mine::it"),
    ],
)
def test_what_torch_says_names_the_operator(text: str, operator: str) -> None:
    error = RuntimeError("around")
    error.__cause__ = NotImplementedError(text)

    assert missing_operator(error) == operator
