"""The scratch of reductions, held against allocations that public snapshots of real GPU runs show."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrtool.memory.gpus import multiprocessors
from lrtool.tracing.workspaces.operators import HiddenCosts
from lrtool.tracing.workspaces.platform import Platform
from lrtool.tracing.workspaces.reductions import Axis, coalesced, scratch_bytes

H100 = multiprocessors((9, 0))

SEEN = {
    (4, 512, 2560): (41_943_040, 80),
    (10, 150, 512): (6_291_456, 16),
    (4, 256, 1024): (8_388_608, 32),
    (4, 128, 2560): (),
    (10, 100, 512): (),
}
"""Gradients of norms' weights, summed over batch and time: what `gpu_reduce_kernel` allocated in students' runs."""


@pytest.mark.parametrize(("shape", "seen"), SEEN.items(), ids=str)
def test_sums_over_rows_take_what_real_runs_show(shape: tuple[int, int, int], seen: tuple[int, ...]) -> None:
    _, time, width = shape

    assert scratch_bytes(shape, (time * width, width, 1), (0, 1), accumulator_bytes=4, gpu=H100) == seen


def test_a_sum_of_everything_takes_little() -> None:
    assert scratch_bytes((512, 1024), (1024, 1), (), accumulator_bytes=4, gpu=H100) == (256, 4)
    assert scratch_bytes((1000,), (1,), (), accumulator_bytes=4, gpu=H100) == ()
    assert scratch_bytes((), (), (), accumulator_bytes=4, gpu=H100) == ()
    assert scratch_bytes((0, 5), (5, 1), (0,), accumulator_bytes=4, gpu=H100) == ()


def test_dimensions_that_one_walk_covers_are_one() -> None:
    axes = [Axis(size=n, stride=s, is_reduced=r) for n, s, r in [(4, 600, True), (30, 20, True), (20, 1, False)]]

    assert coalesced(axes) == [Axis(size=120, stride=20, is_reduced=True), Axis(size=20, stride=1, is_reduced=False)]


@given(rows=st.integers(1, 5000), columns=st.integers(1, 5000), over_rows=st.booleans())
def test_any_matrix_has_an_answer(rows: int, columns: int, over_rows: bool) -> None:
    scratch = scratch_bytes(
        (rows, columns), (columns, 1), (0,) if over_rows else (-1,), accumulator_bytes=4, gpu=H100
    )  # fmt: skip

    assert len(scratch) in (0, 2)
    assert all(size > 0 for size in scratch)


@pytest.mark.parametrize("operator", ["sum", "mean", "amax"])
def test_operators_that_reduce_are_known(operator: str) -> None:
    costs = HiddenCosts(Platform(capability=(9, 0), torch_version=(2, 13)))
    x = torch.empty(4, 512, 2560, dtype=torch.bfloat16, device="meta")

    assert costs.of(operator, (x, [0, 1])) == ((), (41_943_040, 80))
    assert costs.of(operator, (x, [-1])) == ((), ())
    assert costs.of("linalg_vector_norm", (x, 2, [0, 1])) == ((), (41_943_040, 80))


def test_a_gpu_that_is_not_known_is_taken_for_an_earlier_one() -> None:
    assert Platform(capability=(9, 1), torch_version=(2, 13)).multiprocessors == H100
    assert Platform(capability=(5, 2), torch_version=(2, 13)).multiprocessors == multiprocessors((6, 0))


def test_softmax_backward_multiplies_into_an_array_of_its_own() -> None:
    costs = HiddenCosts(Platform(capability=(9, 0), torch_version=(2, 13)))
    x = torch.empty(8, 1024, dtype=torch.bfloat16, device="meta")

    assert costs.of("_softmax_backward_data", (x, x, -1, torch.bfloat16)) == ((), (8 * 1024 * 2,))


def test_adding_at_indices_sorts_them() -> None:
    costs = HiddenCosts(Platform(capability=(9, 0), torch_version=(2, 13)))
    weight, ids, values = (torch.empty(shape, device="meta") for shape in ((10_000, 512), (10, 150), (10, 150, 512)))

    assert costs.of("index_put_", (weight, [ids], values, True)) == ((), (12_000, 12_000, 12_000, 12_000, 1))
    assert costs.of("index_put_", (weight, [ids], values)) == ((), ())


@pytest.mark.parametrize("operator", ["native_layer_norm_backward", "_fused_rms_norm_backward"])
def test_backward_of_a_norm_copies_an_expanded_gradient(operator: str) -> None:
    costs = HiddenCosts(Platform(capability=(9, 0), torch_version=(2, 13)))
    x, expanded = torch.empty(16, 8, 64, device="meta"), torch.empty(1, device="meta").expand(16, 8, 64)

    assert costs.of(operator, (x, x, [64])) == ((), ())
    assert costs.of(operator, (expanded, x, [64])) == ((), (16 * 8 * 64 * 4,))


def test_many_long_rows_are_sorted_with_indices_and_cubs_alternate_arrays() -> None:
    costs = HiddenCosts(Platform(capability=(9, 0), torch_version=(2, 13)))
    rows = torch.empty(128, 8192, device="meta", dtype=torch.bfloat16)

    assert costs.of("sort", (rows, -1, True)) == ((), (rows.numel() * 8, rows.numel() * (8 + 2)))
    assert costs.of("sort", (rows,)) == costs.of("sort", (rows, 1))
    assert costs.of("sort", (rows, 0)) == ((), ()), "columns of 128 are sorted in place"
    assert costs.of("sort", (rows[:127], -1)) == ((), ()), "few segments take another way"
    assert costs.of("sort", (torch.empty((), device="meta"), -1)) == ((), ())
