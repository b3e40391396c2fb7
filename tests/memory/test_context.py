"""What nvidia-smi shows of a process besides what torch reserves."""

import pytest

from lrtool.memory.context import FIGURES, communicator_bytes, context_bytes
from lrtool.memory.gpus import CARDS

MIB = 2**20


def test_a_card_that_was_measured_has_what_was_measured() -> None:
    assert context_bytes(CARDS["t4"], uses=set()).likely_bytes == 110_100_480
    assert context_bytes(CARDS["t4"], uses={"cublas"}).likely_bytes == 137_363_456
    assert context_bytes(CARDS["t4"]).likely_bytes == 141_426_688
    assert context_bytes(CARDS["rtx3090"], uses=set()).likely_bytes == 256 * MIB
    assert "torch-preflight" in context_bytes(CARDS["t4"]).source


def test_every_figure_lies_in_its_cards_interval() -> None:
    for figure in FIGURES:
        card = None if figure.card is None else CARDS[figure.card]
        cuda_version = (12, 8) if figure.is_lazy else (11, 1)
        estimate = context_bytes(card, cuda_version=cuda_version, uses=figure.uses)
        assert estimate.low_bytes <= figure.num_bytes <= estimate.high_bytes, figure


def test_another_card_has_as_much_as_its_multiprocessors() -> None:
    """An H100 has 132 of them: 396 MiB, which is less than an RTX 6000 Ada with 142."""
    estimate = context_bytes(CARDS["h100"], uses=set())
    assert (estimate.low_bytes, estimate.likely_bytes, estimate.high_bytes) == (264 * MIB, 396 * MIB, 792 * MIB)
    assert "132 multiprocessors" in estimate.source


def test_without_a_card_one_of_that_capability_is_taken() -> None:
    assert context_bytes(None, capability=(9, 0)) == context_bytes(CARDS["h100"])
    assert context_bytes(None) == context_bytes(CARDS["a100-80"])


def test_before_kernels_were_loaded_as_needed_they_took_more() -> None:
    assert context_bytes(CARDS["rtx3090"], cuda_version=(11, 1)).likely_bytes == 1488 * MIB
    assert context_bytes(CARDS["t4"], cuda_version=(10, 2)).likely_bytes > context_bytes(CARDS["t4"]).high_bytes


@pytest.mark.parametrize(("num_gpus", "mebibytes"), [(1, 0), (2, 544), (4, 688), (8, 688)])
def test_a_communicator_takes_memory_of_each_card(num_gpus: int, mebibytes: int) -> None:
    assert communicator_bytes(num_gpus).likely_bytes == mebibytes * MIB
