"""Settings strings are taken as they are, and judged as the torch release in question would."""

import pytest

from lrtool.errors import UsageError
from lrtool.memory.allocator.config import UNLIMITED_BYTES, parse_settings
from lrtool.memory.allocator.versions import TorchVersion, parse_torch_version
from tests.memory.traces import MIB


@pytest.mark.parametrize(
    "prefix", ["", "PYTORCH_CUDA_ALLOC_CONF=", "export PYTORCH_ALLOC_CONF=", "PYTORCH_CUDA_ALLOC_CONF = "]
)
def test_a_configuration_may_be_typed_with_its_variable(prefix: str) -> None:
    settings = parse_settings(f"{prefix}max_split_size_mb:128, garbage_collection_threshold:0.8")
    assert settings.max_split_bytes == 128 * MIB
    assert settings.garbage_collection_threshold == 0.8


def test_nothing_is_the_default() -> None:
    assert parse_settings("").max_split_bytes == UNLIMITED_BYTES
    assert not parse_settings(" , ").expandable_segments


@pytest.mark.parametrize(
    ("text", "minor", "no_caching"),
    [
        ("PYTORCH_NO_CUDA_MEMORY_CACHING=1", 15, True),
        ("PYTORCH_NO_CUDA_MEMORY_CACHING=0", 7, False),
        ("PYTORCH_NO_CUDA_MEMORY_CACHING=0", 6, True),
        ("PYTORCH_NO_CUDA_MEMORY_CACHING=1 PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:64", 15, True),
    ],
)
def test_caching_is_disabled_as_that_release_would(text: str, minor: int, no_caching: bool) -> None:
    assert parse_settings(text, version=TorchVersion(2, minor)).no_caching is no_caching


def test_divisions_for_all_sizes() -> None:
    assert set(parse_settings("roundup_power2_divisions:8").divisions) == {8}


@pytest.mark.parametrize(
    ("text", "minor", "expected"),
    [
        ("[256:1,512:2,1024:4,>:8]", 15, [1] * 9 + [2, 4] + [8] * 5),
        ("[256:1,512:2,1024:4,>:8]", 9, [1] * 9 + [2] + [8] * 6),
        ("[4:2,64:4]", 15, [2, 2, 2, 0, 0, 0, 4] + [0] * 9),
        ("[>:4]", 15, [0] + [4] * 15),
        ("[>:4]", 9, [4] * 16),
    ],
)
def test_divisions_by_size(text: str, minor: int, expected: list[int]) -> None:
    settings = parse_settings(f"roundup_power2_divisions:{text}", version=TorchVersion(2, minor))
    assert list(settings.divisions) == expected


@pytest.mark.parametrize(
    ("text", "minor", "message"),
    [
        ("max_split_size:64", 15, "unknown allocator setting 'max_split_size'"),
        ("max_split_size_mb", 15, "has no value"),
        ("max_split_size_mb:19", 15, "max_split_size_mb:19 is not legal"),
        ("max_split_size_mb:20", 9, "max_split_size_mb:20 is not legal"),
        ("max_split_size_mb:30,large_segment_size_mb:40", 15, "below the large segment size"),
        ("max_split_size_mb:99999999999999999999", 15, "is not legal"),
        ("garbage_collection_threshold:1", 15, "is not legal"),
        ("garbage_collection_threshold:often", 15, "is not a number"),
        ("per_process_memory_fraction:1.5", 15, "is not legal"),
        ("expandable_segments:true", 15, "neither True nor False"),
        ("roundup_power2_divisions:3", 15, "is not a power of two"),
        ("roundup_power2_divisions:[256]", 15, "no size:divisions pair"),
        ("roundup_power2_divisions:[256:1", 15, "is not a list"),
        ("backend:cudaMallocAsync", 15, "is not simulated"),
        ("expandable_segments:True", 0, "torch 2.0 has no allocator setting expandable_segments"),
        ("max_non_split_rounding_mb:64", 5, "it came with torch 2.6"),
        ("per_process_memory_fraction:0.5", 9, "it came with torch 2.10"),
        ("large_segment_size_mb:40", 10, "it came with torch 2.11"),
        ("throw_on_cudamalloc_oom:True", 11, "it came with torch 2.12"),
    ],
)
def test_what_that_release_would_not_take_is_an_error(text: str, minor: int, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings(text, version=TorchVersion(2, minor))
    assert message in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(("text", "minor"), [("2.13", 13), ("2.13.1+cu130", 13), ("v2.0.1", 0), ("2.15.0a0", 15)])
def test_a_version_is_read_up_to_its_minor_number(text: str, minor: int) -> None:
    assert parse_torch_version(text) == TorchVersion(2, minor)


@pytest.mark.parametrize("text", ["", "2", "two", "1.13", "2.16", "3.0", "2.13; rm"])
def test_an_unknown_version_is_an_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_torch_version(text)
