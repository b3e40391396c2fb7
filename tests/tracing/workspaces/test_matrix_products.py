"""Copies of what cuBLAS cannot take, by hand and against what a real GPU run did."""

import pytest
import torch
from torch import Tensor

from lrtool.tracing.workspaces.matrix_products import Operand, copied_bytes
from lrtool.tracing.workspaces.operators import HiddenCosts
from lrtool.tracing.workspaces.platform import Platform


def operand(x: Tensor) -> Operand:
    return Operand(sizes=tuple(x.shape), strides=x.stride(), element_bytes=x.element_size())


def copies(first: Tensor, second: Tensor) -> tuple[int, ...]:
    return copied_bytes(operand(first), operand(second))


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (meta(6, 4), meta(4, 5)),
        (meta(4, 6).T, meta(5, 4).T),
        (meta(6, 9)[:, :4], meta(4, 9)[:, 2:7]),
        (meta(3, 6, 4), meta(3, 4, 5)),
        (meta(3, 4, 6).mT, meta(3, 5, 4).mT),
        (meta(6, 3, 4).transpose(0, 1), meta(4, 3, 5).transpose(0, 1)),
        (meta(1, 6, 4).expand(3, 6, 4), meta(3, 4, 5)),
        (meta(3, 6, 4), meta(3, 4, 1)),
    ],
)
def test_whatever_has_a_unit_stride_and_room_between_its_lines_is_taken_as_it_is(first: Tensor, second: Tensor) -> None:
    assert copies(first, second) == ()


def test_an_expanded_gradient_is_copied() -> None:
    """The backward of `attention(...).sum()`: of a public snapshot, where the copy of 8 x 4096 x 16 floats is 2 MiB."""
    gradient = meta(1).expand(8, 4096, 16)
    assert copies(gradient, meta(8, 16, 4096)) == (2 * 2**20,)
    assert copies(meta(8, 4096, 4096), gradient) == (2 * 2**20,)
    assert copies(meta(6, 4), meta(1).expand(4, 5)) == (4 * 5 * 4,)


def test_lines_with_gaps_between_their_elements_are_copied_the_second_operand_first() -> None:
    first, second = meta(6, 4, 2, dtype=torch.bfloat16)[..., 0], meta(4, 5, 2, dtype=torch.bfloat16)[..., 0]
    assert copies(first, second) == (6 * 4 * 2, 4 * 5 * 2)
    batches = meta(3, 6, 4, 2)[..., 0], meta(3, 4, 5, 2)[..., 0]
    assert copies(*batches) == (3 * 4 * 5 * 4, 3 * 6 * 4 * 4)


@pytest.mark.parametrize(("operator", "before"), [("mm", 0), ("addmm", 1)])
def test_a_product_holds_its_copies_with_its_workspace(operator: str, before: int) -> None:
    costs = HiddenCosts(Platform(capability=(8, 0), torch_version=(2, 15)))
    args = (meta(5),) * before + (meta(6, 4), meta(1).expand(4, 5))
    assert costs.of(operator, args) == ((), (4 * 5 * 4, 8_519_680))
