"""What libraries take by no public formula: the figures that are public, and hand-worked bounds around them."""

from typing import Any

import pytest
import torch

from lrtool.tracing.workspaces.operators import HiddenCosts, estimated_outputs
from lrtool.tracing.workspaces.platform import Platform
from lrtool.tracing.workspaces.recurrent import Layers, reserve, workspace

MIB = 2**20
COSTS = HiddenCosts(Platform(capability=(8, 0), torch_version=(2, 13)))
LSTM = Layers(kind="lstm", num_rows=25_000, width=320, num_layers=4, num_directions=1, element_bytes=4,
              weight_bytes=4 * 3_034_880)  # fmt: skip
GRU = Layers(kind="gru", num_rows=25_000, width=320, num_layers=4, num_directions=1, element_bytes=4,
             weight_bytes=4 * 2_276_160)  # fmt: skip


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def test_public_figures_of_recurrent_layers() -> None:
    """pytorch#2895: 4 layers of 320 over inputs of 123."""
    assert reserve(LSTM).likely_bytes == 736_000_000
    assert reserve(GRU).likely_bytes == 864_000_000
    assert workspace(LSTM).likely_bytes == pytest.approx(17_730_560, rel=0.01)
    assert workspace(GRU).likely_bytes == pytest.approx(13_169_920, rel=0.01)
    for layers, figure in ((LSTM, 17_730_560), (GRU, 13_169_920)):
        assert workspace(layers).low_bytes < figure < workspace(layers).high_bytes


def test_a_reserve_is_at_least_the_gates_and_at_most_kept_in_float32() -> None:
    """One layer of 2 over 3 rows: 4, 5 or 8 arrays of 6 elements."""
    small: dict[str, Any] = {
        "kind": "lstm",
        "num_rows": 3,
        "width": 2,
        "num_layers": 1,
        "num_directions": 1,
        "weight_bytes": 0,
    }
    sizes = reserve(Layers(**small, element_bytes=4))
    assert (sizes.low_bytes, sizes.likely_bytes, sizes.high_bytes) == (96, 120, 192)
    half = reserve(Layers(**small, element_bytes=2))
    assert (half.low_bytes, half.likely_bytes, half.high_bytes) == (48, 60, 192)


def test_two_directions_and_dropout_between_layers() -> None:
    """Two plain layers of 2 over 3 rows: 2 arrays and one between, of 12 elements; dropout keeps 2 more at most."""
    both: dict[str, Any] = {
        "kind": "rnn_tanh",
        "num_rows": 3,
        "width": 2,
        "num_layers": 2,
        "num_directions": 2,
        "weight_bytes": 0,
    }
    plain = reserve(Layers(**both, element_bytes=4))
    assert (plain.low_bytes, plain.likely_bytes, plain.high_bytes) == (48, 144, 240)
    assert reserve(Layers(**both, element_bytes=4, has_dropout=True)).high_bytes == 336


def convolution(x: torch.Tensor, weight: torch.Tensor, groups: int = 1, *, transposed: bool = False) -> list[Any]:
    return [x, weight, None, [1, 1], [0, 0], [1, 1], transposed, [0, 0], groups]


def test_a_convolution_takes_its_weights_or_a_copy_of_everything() -> None:
    """3 x 3 from 8 to 16 channels: 1,152 weights; 2 x 8 x 10 x 10 inputs, 2 x 16 x 8 x 8 outputs."""
    (found,) = COSTS.estimates("convolution", convolution(meta(2, 8, 10, 10), meta(16, 8, 3, 3)))
    assert (found.low_bytes, found.likely_bytes) == (0, 4608)
    assert found.high_bytes == 4 * (1600 + 2048) + 2 * 4608 + MIB


def test_a_seen_workspace_lies_within() -> None:
    """51,328 B for a convolution whose weights have 51,200 B and whose output 2,097,152 B."""
    (found,) = COSTS.estimates("convolution", convolution(meta(32, 32, 24, 24), meta(16, 32, 5, 5)))
    assert found.likely_bytes == 51_200
    assert found.low_bytes <= 51_328 <= found.high_bytes


def test_a_convolution_of_one_by_one_takes_nothing_as_a_rule() -> None:
    (found,) = COSTS.estimates("convolution", convolution(meta(2, 8, 10, 10), meta(16, 8, 1, 1)))
    assert (found.low_bytes, found.likely_bytes) == (0, 0)
    assert found.high_bytes > 0


def test_channels_last_need_no_copies() -> None:
    x = meta(2, 8, 10, 10, dtype=torch.float16).to(memory_format=torch.channels_last)
    (found,) = COSTS.estimates("convolution", convolution(x, meta(16, 8, 3, 3, dtype=torch.float16)))
    assert found.high_bytes == 1152 * (2 + 4) + MIB


def test_copies_in_half_precision_have_channels_in_eights() -> None:
    """4 channels take the room of 8, and 12 that of 16; in single precision their own."""
    (half,) = COSTS.estimates("convolution", convolution(meta(2, 4, 10, 10).half(), meta(12, 4, 3, 3).half()))
    (single,) = COSTS.estimates("convolution", convolution(meta(2, 4, 10, 10), meta(12, 4, 3, 3)))

    assert half.high_bytes == 2 * (2 * 8 * 100 + 2 * 16 * 64) + 432 * (2 + 4) + MIB
    assert single.high_bytes == 4 * (2 * 4 * 100 + 2 * 12 * 64) + 432 * (4 + 4) + MIB


def test_torchs_own_depthwise_convolution_takes_nothing() -> None:
    x, weight = meta(2, 8, 10, 10), meta(8, 1, 3, 3)
    assert COSTS.estimates("convolution", convolution(x, weight, groups=8)) == ()
    assert len(COSTS.estimates("convolution", convolution(x.half(), weight.half(), groups=8))) == 1


def test_a_transposed_convolution_is_as_large_as_its_output() -> None:
    """From 10 to 12 in each direction: 2 x 4 x 12 x 12 outputs."""
    (found,) = COSTS.estimates("convolution", convolution(meta(2, 8, 10, 10), meta(8, 4, 3, 3), transposed=True))
    assert found.high_bytes == 4 * (1600 + 1152) + 2 * 4 * 288 + MIB


@pytest.mark.parametrize(("wanted", "count"), [([True, True, False], 2), ([False, True, True], 1)])
def test_each_gradient_of_a_convolution_has_its_own(wanted: list[bool], count: int) -> None:
    x, weight = meta(2, 8, 10, 10), meta(16, 8, 3, 3)
    args = [meta(2, 16, 8, 8), x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, wanted]
    forward = COSTS.estimates("convolution", convolution(x, weight))
    assert COSTS.estimates("convolution_backward", args) == forward * count


def test_benchmarking_tries_what_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    args = convolution(meta(2, 8, 10, 10), meta(16, 8, 3, 3))
    (usual,) = COSTS.estimates("convolution", args)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    assert COSTS.estimates("convolution", args)[0].high_bytes == 4 * usual.high_bytes
    monkeypatch.setenv("CUDNN_CONV_WSCAP_DBG", "0")
    assert COSTS.estimates("convolution", args)[0].high_bytes == usual.likely_bytes


def test_efficient_attentions_backward_adds_up_in_tiles() -> None:
    """2 x 4 heads of 100 by 64: 2 tiles of 64 x 64 float32 and a lock each, or one of 128 x 64; 100 float32 beside them."""
    query = meta(2, 4, 100, 64, dtype=torch.float16)
    (found,) = COSTS.estimates("_scaled_dot_product_efficient_attention_backward", [query, query, query, query])
    assert found.likely_bytes == found.low_bytes == 8 * (400 + 128 * 64 * 4 + 16)
    assert found.high_bytes == 8 * (400 + 2 * (64 * 64 * 4 + 16))


def test_wide_heads_may_spill_the_gradients_of_keys_and_values() -> None:
    query = meta(1, 1, 128, 128, dtype=torch.float16)
    name = "_scaled_dot_product_efficient_attention_backward"
    (half,) = COSTS.estimates(name, [query] * 4)
    (full,) = COSTS.estimates(name, [query.float()] * 4)
    assert half.high_bytes - full.high_bytes == 128 * 256 * 4


def test_cudnn_attentions_backward() -> None:
    query = meta(2, 4, 128, 64, dtype=torch.float16)
    (found,) = COSTS.estimates("_scaled_dot_product_cudnn_attention_backward", [query, query, query])
    assert found.likely_bytes == 2 * 4 * 128 * 65 * 4
    assert found.high_bytes == found.likely_bytes + 2 * 4 * 128 * 128 * 2


def test_what_sorts_within() -> None:
    x = meta(1000, dtype=torch.int64)
    (plain,) = COSTS.estimates("_unique2", [x, True, False, False])
    assert (plain.low_bytes, plain.likely_bytes) == (8000, 16_000)
    (inverse,) = COSTS.estimates("_unique2", [x, True, True, False])
    assert (inverse.low_bytes, inverse.likely_bytes, inverse.high_bytes) == (16_000, 40_000, 56_000)
    assert COSTS.estimates("topk", [meta(4, 10_000), 4096]) == ()
    (picked,) = COSTS.estimates("topk", [meta(4, 10_000), 5000])
    assert picked.low_bytes == 4 * 5000 * 12
    (indices,) = COSTS.estimates(
        "embedding_dense_backward", [meta(5000, 8), meta(5000, dtype=torch.int64), 100, -1, False]
    )
    assert indices.likely_bytes == 80_000
    few = [meta(3000, 8), meta(3000, dtype=torch.int64), 100, -1, False]
    assert COSTS.estimates("embedding_dense_backward", few) == ()


@pytest.mark.parametrize(("channels_last", "trains", "high"), [(True, True, 200), (False, True, 0), (True, False, 0)])
def test_a_batch_norm_may_keep_a_bit_for_each_input(channels_last: bool, trains: bool, high: int) -> None:
    x = meta(2, 8, 10, 10)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    size = estimated_outputs("cudnn_batch_norm", [x, None, None, None, None, trains, 0.1, 1e-5])[3]
    assert (size.low_bytes, size.likely_bytes, size.high_bytes) == (0, 0, high)


def test_nothing_else_is_an_estimate() -> None:
    x = meta(4, 4)
    assert COSTS.estimates("mm", [x, x]) == ()
    assert estimated_outputs("mm", [x, x]) == {}


@pytest.mark.parametrize("operator", ["addmm_", "dot", "baddbmm_", "_int_mm", "linalg_solve_triangular"])
def test_whatever_takes_a_cublas_handle_takes_its_workspace(operator: str) -> None:
    x = meta(2, 4, 4) if operator == "baddbmm_" else meta(4, 4)
    costs = HiddenCosts(Platform(capability=(8, 0), torch_version=(2, 13)))
    assert costs.of(operator, [x, x, x])[0] == (8_519_680,)
