"""A loader's work on the CPU is not watched, and what it does on the GPU is."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lrtool.memory.trace.allocation_trace import Op
from lrtool.results import Category
from lrtool.tracing.fake_values.values import values_of
from lrtool.tracing.tracer.storage_recorder import StorageRecorder
from lrtool.tracing.tracer.tracer import TraceSettings, recording, trace
from lrtool.workload.target import from_callable

ROWS, WIDTH = 64, 16


def numbers(*, rows: int = ROWS) -> TensorDataset:
    return TensorDataset(torch.randn(rows, WIDTH), torch.arange(rows))


@pytest.fixture
def num_dispatched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The operators that came by a trace."""
    seen: list[Any] = []
    original = StorageRecorder.__torch_dispatch__

    def count(self: Any, func: Any, *arguments: Any) -> Any:
        seen.append(func)
        return original(self, func, *arguments)

    monkeypatch.setattr(StorageRecorder, "__torch_dispatch__", count)
    return seen


@pytest.mark.parametrize("rows", [ROWS, 2**16], ids=["values are known", "too large for that"])
def test_samples_come_by_no_mode(num_dispatched: list[Any], rows: int) -> None:
    with recording("predicted"):
        loader = DataLoader(numbers(rows=rows), batch_size=ROWS)
        num_dispatched.clear()
        x, y = next(iter(loader))

        assert num_dispatched == []
        assert x.shape == (ROWS, WIDTH)
        assert (isinstance(x, FakeTensor), x.device.type) == (rows > ROWS, "cpu")
        assert values_of(y) is not None
        assert values_of(y.cuda())[-1] == ROWS - 1  # type: ignore[index]


class OnGpu(Dataset[Tensor]):
    """Samples that are moved, made, or looked up on the GPU."""

    def __init__(self, make: Callable[[int], Tensor]) -> None:
        self.make = make

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> Tensor:
        return self.make(index)


def _moved(index: int) -> Tensor:
    return torch.full((WIDTH,), float(index)).cuda()


def _made(index: int) -> Tensor:
    return torch.zeros(WIDTH, device="cuda")


def _listed(index: int) -> Tensor:
    return torch.tensor([float(index)] * WIDTH, device="cuda")


def _computed(index: int) -> Tensor:
    return torch.arange(WIDTH, device="cuda").float() + index


@pytest.mark.parametrize("make", [_moved, _made, _listed, _computed], ids=lambda make: make.__name__)
def test_what_a_dataset_does_on_the_gpu_is_traced(make: Callable[[int], Tensor]) -> None:
    with recording("predicted") as recorder:
        batch = next(iter(DataLoader(OnGpu(make), batch_size=4)))

        assert (batch.shape, batch.device.type) == ((4, WIDTH), "cuda")
        assert recorder.log.live_bytes == 4 * WIDTH * 4
        recorder.end_step()
        (step,) = recorder.log.steps
    sizes = [request[1] for request in step.requests if request[0] == Op.ALLOC]
    assert sizes[-1] == 4 * WIDTH * 4
    assert sizes.count(WIDTH * 4) >= 4
    assert {note.category for note in step.notes} == {Category.INPUT}


def test_a_collate_that_moves_the_batch_is_traced() -> None:
    def build() -> dict[str, Any]:
        model = nn.Linear(WIDTH, 4)

        def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
            x, y = (torch.stack(parts).to("cuda") for parts in zip(*samples, strict=True))
            return model(x).detach(), y % 4

        return {
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
            "train_loader": DataLoader(numbers(), batch_size=8, collate_fn=collate),
            "loss": lambda model, batch: nn.functional.cross_entropy(
                batch[0] + model(torch.zeros(8, WIDTH, device="cuda")), batch[1]
            ),
        }

    found = trace(from_callable(build, params={}), TraceSettings(num_steps=2, until_steady=False)).trace
    inputs = [
        found.values[at]
        for at, op in enumerate(found.ops)
        if op == Op.ALLOC and found.note(at).category == Category.INPUT
    ]

    assert inputs == [8 * WIDTH * 4, 8 * 8, 8 * 4 * 4, 8 * 8] * 2


def test_a_loader_draws_what_it_would_draw_without_a_trace() -> None:
    torch.manual_seed(3)
    wanted = [y.tolist() for _, y in DataLoader(numbers(), batch_size=8, shuffle=True)]
    with recording("predicted"):
        torch.manual_seed(3)
        loader = DataLoader(numbers(), batch_size=8, shuffle=True)
        assert [y.tolist() for _, y in islice(loader, 8)] == wanted


def test_an_error_of_a_dataset_comes_through_and_the_modes_are_on_again() -> None:
    def fail(index: int) -> Tensor:
        raise ZeroDivisionError

    with recording("predicted"):
        with pytest.raises(ZeroDivisionError):
            next(iter(DataLoader(OnGpu(fail))))
        assert torch.ones(1).cuda().device.type == "cuda"
