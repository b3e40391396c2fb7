"""Cards by name, and sizes."""

import pytest

from lrtool.errors import UsageError
from lrtool.memory.gpus import CARDS, CONTEXT_BYTES, parse_capacity


@pytest.mark.parametrize(
    ("text", "name"),
    [("rtx4090", "rtx4090"), ("RTX 4090", "rtx4090"), ("NVIDIA GeForce RTX 4090", "rtx4090"), ("a100-40", "a100-40"),
     ("A100 40GB", "a100-40"), ("a100", "a100-80"), ("H100", "h100"), ("t4", "t4")],
)  # fmt: skip
def test_a_card_is_found_however_it_is_written(text: str, name: str) -> None:
    num_bytes, card = parse_capacity(text)
    assert card is CARDS[name]
    assert num_bytes == card.usable_bytes


def test_usable_is_less_than_total_by_a_context_and_whole_mib() -> None:
    for card in CARDS.values():
        assert 0 <= card.total_bytes - CONTEXT_BYTES - card.usable_bytes < 2**20
        assert card.source


def test_a_size_is_a_size() -> None:
    assert parse_capacity("24GiB") == (24 * 2**30, None)


@pytest.mark.parametrize("text", ["rtx4091x", "", "huge", "24 parsecs"])
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_capacity(text)


def test_a_card_says_what_is_usable() -> None:
    assert str(CARDS["rtx4090"]) == "GeForce RTX 4090: 23.1 GiB usable of 23.6 GiB"
