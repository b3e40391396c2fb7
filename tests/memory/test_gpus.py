"""Cards by name, and sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtool.errors import UsageError
from lrtool.memory.gpus import (
    CARDS,
    CONTEXT_BYTES,
    Multiprocessors,
    capacity_note,
    find_card,
    known_card,
    multiprocessors,
    parse_capacity,
)


@pytest.mark.parametrize(
    ("text", "name"),
    [("rtx4090", "rtx4090"), ("RTX 4090", "rtx4090"), ("NVIDIA GeForce RTX 4090", "rtx4090"), ("a100-40", "a100-40"),
     ("A100 40GB", "a100-40"), ("a100", "a100-80"), ("H100", "h100"), ("t4", "t4"), ("a10080", "a100-80"),
     ("NVIDIA A100-SXM4-80GB", "a100-80"), ("NVIDIA A100-PCIE-40GB", "a100-40"), ("NVIDIA A100 80GB PCIe", "a100-80"),
     ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H100 PCIe", "h100"), ("h100-sxm", "h100"), ("NVIDIA H100 NVL", "h100-nvl"),
     ("NVIDIA H200", "h200"), ("NVIDIA B200", "b200"), ("NVIDIA GH200 480GB", "gh200"), ("gh200", "gh200"),
     ("3090ti", "rtx3090ti"), ("3090 Ti", "rtx3090ti"), ("1080ti", "gtx1080ti"), ("NVIDIA GeForce GTX 1080 Ti", "gtx1080ti"),
     ("NVIDIA GeForce RTX 3060", "rtx3060"), ("rtx 3060 12gb", "rtx3060"), ("rtx 3080", "rtx3080"),
     ("NVIDIA GeForce RTX 3080", "rtx3080"), ("rtx 3080 12gb", "rtx3080-12"), ("rtx3080-12", "rtx3080-12"),
     ("Tesla V100-SXM2-16GB", "v100-16"), ("Tesla V100-SXM2-32GB", "v100-32"), ("v100", "v100-32"),
     ("Tesla P100-PCIE-16GB", "p100"), ("Tesla T4", "t4"), ("NVIDIA A10G", "a10g"), ("NVIDIA A10", "a10"),
     ("NVIDIA L4", "l4"), ("NVIDIA L40S", "l40s"), ("NVIDIA RTX A6000", "a6000"), ("a6000", "a6000"),
     ("NVIDIA RTX A5000", "a5000"), ("NVIDIA RTX 6000 Ada Generation", "rtx6000ada"), ("rtx 6000 ada", "rtx6000ada"),
     ("AMD Instinct MI300X", "mi300x"), ("AMD Instinct MI250X / MI250", "mi250x"), ("NVIDIA GeForce RTX 5080", "rtx5080")],
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


@pytest.mark.parametrize(
    "text",
    ["rtx4091x", "", "huge", "24 parsecs", "NVIDIA GeForce RTX 4090 Laptop GPU", "rtx 4070 ti super", "rtx 4060 ti"],
)
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_capacity(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("24", "24GiB"), ("80", "80GiB"), ("4090", "'rtx4090'"), ("3090", "'rtx3090'"), (" 4080", "'rtx4080'"),
     ("5090", "'rtx5090'"),
     ("2080", "'rtx2080ti'"), ("1080", "'gtx1080ti'"), ("6000", "'a6000'"), ("100", "'a100-80'"), ("100", "100GiB"),
     ("4090ti", "'rtx4090'"), ("4090 super", "'rtx4090'"), ("24576", "24576MiB"), ("0", "24GiB"), ("0GiB", "24GiB"),
     ("-1GiB", "24GiB"), ("nanGiB", "24GiB"), ("infGiB", "24GiB"), ("24,5GiB", "24.5GiB"), ("99999999999GiB", "24GiB")],
)  # fmt: skip
def test_a_number_that_is_no_capacity_is_told_what_it_probably_means(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match="capacity: ") as refused:
        parse_capacity(text)
    assert hint in refused.value.hint


@pytest.mark.parametrize("name", [name for name in CARDS if name[-3:].isdecimal() or name[-4:].isdecimal()])
def test_the_bare_number_of_any_card_is_told_its_name(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_capacity(name.lstrip("abghprtvx"))
    assert name in refused.value.hint


@pytest.mark.parametrize(
    ("text", "note"),
    [("24GB", "24 GB = 22.4 GiB; for a 24 GB card say rtx4090 or 24GiB"),
     ("80 gb", "80 GB = 74.5 GiB; for an 80 GB card say h100 or 80GiB"),
     ("25GB", "25 GB = 23.3 GiB; for powers of two say 25GiB"),
     ("24000MB", "24000 MB = 22.4 GiB; for powers of two say 24000MiB"),
     ("24GiB", None), ("24G", None), ("rtx4090", None), ("A100 80GB", None), ("25769803776", None)],
)  # fmt: skip
def test_a_capacity_in_powers_of_ten_is_told_once_more(text: str, note: str | None) -> None:
    assert capacity_note(text) == note


def test_a_card_says_what_is_usable() -> None:
    assert str(CARDS["rtx4090"]) == "GeForce RTX 4090: 23.1 GiB usable of 23.6 GiB"


@pytest.mark.parametrize(
    "text",
    ["rtx 3080 20gb", "a100-60", "v100-64", "rtx 3060 8gb", "p100-12", "h100-96", "NVIDIA L40", "rtx 6000", "rtx 3060 ti",
     "4080 super", "a1000", "h20", "a40"],
)  # fmt: skip
def test_a_near_miss_is_no_card(text: str) -> None:
    assert find_card(text) is None


@given(st.sampled_from(sorted(CARDS)), st.integers(1, 300))
def test_a_size_in_a_name_is_that_of_the_card(name: str, size: int) -> None:
    found = find_card(f"{CARDS[name].model} {size}GB")

    assert found is None or size in found.sizes


@given(st.text(max_size=12))
def test_any_text_is_a_card_or_none(text: str) -> None:
    found = find_card(text)

    assert found is None or found.model.strip("rtxgm-")[:2] in text.lower()


def test_every_card_is_found_by_its_name_and_its_title() -> None:
    for card in CARDS.values():
        assert find_card(card.name) is card
        assert find_card(card.title.partition(",")[0]) is card


def test_of_a_card_of_amd_the_memory_is_known_and_nothing_else() -> None:
    assert parse_capacity("mi300x")[0] == CARDS["mi300x"].usable_bytes
    with pytest.raises(UsageError) as refused:
        known_card("mi300x")
    assert "--capacity mi300x" in refused.value.hint


def test_multiprocessors_are_those_of_the_card_where_it_is_known() -> None:
    assert multiprocessors((8, 6)) == Multiprocessors(count=82, max_threads=1536)
    assert multiprocessors((8, 6), CARDS["rtx3080"].num_multiprocessors) == Multiprocessors(count=68, max_threads=1536)
    assert multiprocessors((9, 1)) == multiprocessors((9, 0))
