"""The bundled workloads that show what memory does wrong, on the real CPU and on small batches."""

import gc

import pytest
import torch
from torch import Tensor

from lrtool.workload.batches import Batches
from lrtool.workload.step import Step, make_step
from lrtool.workload.target import load
from tests.sweep.made_trials import GIB, MIB

CPU = torch.device("cpu")
KEPT_BYTES = 7 * 512 * 256 * 4 + 512 * (64 * 4 + 10 * 4 + 8) + 2 * 512
"""Seven layers' outputs, images, log-probabilities and labels, the loss and its total weight (512 B each, rounded)."""


def step_of(name: str, **params: int) -> Step:
    workload = load(name, params=params).build(seed=0, device=CPU)
    return make_step(workload, CPU, Batches(workload.train_loader))


def num_kept_losses() -> int:
    """Scalars with a graph that Python still knows of."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if type(each) is Tensor]
    return sum(1 for each in tensors if each.ndim == 0 and each.grad_fn is not None)


@pytest.mark.parametrize("name", ["leaky", "variable-length"])
def test_they_train_on_the_cpu(name: str) -> None:
    step = step_of(name, batch_size=4)

    losses = [float(step()) for _ in range(3)]

    assert all(0 < loss < 10 for loss in losses)


def test_the_leaky_one_keeps_a_loss_with_its_graph_each_step() -> None:
    step = step_of("leaky", batch_size=4)
    step()
    before = num_kept_losses()

    for _ in range(5):
        step()

    assert num_kept_losses() - before == 5


def test_what_it_keeps_fills_24_gib_between_6000_and_7000_steps() -> None:
    assert 6000 * KEPT_BYTES < 23 * GIB
    assert 24 * GIB < 7000 * KEPT_BYTES
    assert round(KEPT_BYTES / MIB, 2) == 3.65


def test_variable_lengths_vary_and_come_back_in_every_epoch() -> None:
    loader = load("variable-length", params={}).build(seed=0, device=CPU).train_loader
    first, second = ([tuple(batch.shape) for batch in loader] for _ in range(2))

    assert first == second
    assert len({length for _, length in first}) > len(first) // 2
