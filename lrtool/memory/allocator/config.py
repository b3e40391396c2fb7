"""PYTORCH_CUDA_ALLOC_CONF strings, parsed and checked as the given torch release would."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lrtool.errors import UsageError, did_you_mean
from lrtool.memory.allocator.versions import LATEST, TorchVersion

NUM_DIVISION_BUCKETS = 16
_NO_DIVISIONS = (0,) * NUM_DIVISION_BUCKETS
MIB = 2**20
_MAX_MB = 2**40 // MIB * 1024
_ASSIGNMENT = re.compile(
    r"(?:export\s+)?(PYTORCH_NO_CUDA_MEMORY_CACHING|PYTORCH_CUDA_ALLOC_CONF|PYTORCH_ALLOC_CONF)\s*="
)
LARGE_SEGMENT_BYTES = 20 * MIB
UNLIMITED_BYTES = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorSettings:
    """The allocator options in force; sizes in bytes, `max_split_bytes` is UNLIMITED_BYTES where unset."""

    max_split_bytes: int = UNLIMITED_BYTES
    max_non_split_rounding_bytes: int | None = None
    divisions: tuple[int, ...] = _NO_DIVISIONS
    garbage_collection_threshold: float = 0.0
    expandable_segments: bool = False
    large_segment_bytes: int = LARGE_SEGMENT_BYTES
    memory_fraction: float | None = None
    throw_on_oom: bool = False
    no_caching: bool = False

    @property
    def non_split_slack_bytes(self) -> int:
        """How much larger than an oversize request the block given for it may be; exclusive."""
        if self.max_non_split_rounding_bytes is None:
            return self.large_segment_bytes
        return self.max_non_split_rounding_bytes


def parse_settings(
    text: str, *, version: TorchVersion = LATEST, previous: AllocatorSettings | None = None
) -> AllocatorSettings:
    """The settings a `NAME=`-prefixed or bare configuration string stands for on that torch release.

    `previous` are the settings in force when the string comes at run time: split size, divisions and the collection
    threshold fall back to their defaults, everything else keeps its value. Raises UsageError.
    """
    no_caching, conf = _split_environment(text, version)
    settings = replace(
        previous or AllocatorSettings(),
        max_split_bytes=UNLIMITED_BYTES,
        divisions=_NO_DIVISIONS,
        garbage_collection_threshold=0.0,
    )
    if no_caching is not None:
        settings = replace(settings, no_caching=no_caching)
    for key, value in _pairs(conf):
        settings = _apply(settings, key, value, version)
    return _checked(settings, version)


def _split_environment(text: str, version: TorchVersion) -> tuple[bool | None, str]:
    """(what PYTORCH_NO_CUDA_MEMORY_CACHING says or None, the configuration itself)."""
    parts = _ASSIGNMENT.split(text.strip())
    no_caching, conf = None, parts[0].strip()
    for name, raw in zip(parts[1::2], parts[2::2], strict=True):
        value = raw.strip().rstrip(";").strip("\"' ")
        if name == "PYTORCH_NO_CUDA_MEMORY_CACHING":
            no_caching = value == "1" or (version.no_caching_by_any_value and value != "")
        elif conf and value:
            raise UsageError("the allocator is configured twice", hint="give one PYTORCH_CUDA_ALLOC_CONF value")
        else:
            conf = conf or value
    return no_caching, conf.strip("\"' ")


def _pairs(conf: str) -> Iterator[tuple[str, str]]:
    for part in _parts(conf):
        if not part.strip():
            continue
        key, colon, value = part.partition(":")
        if not colon or not value.strip():
            raise UsageError(f"allocator setting {part.strip()!r} has no value", hint="write it as name:value")
        yield key.strip(), value.strip()


def _parts(conf: str) -> Iterator[str]:
    """What stands between the commas outside of brackets: those that no `]` follows before the next `[`."""
    is_inside, commas = False, []
    for position in range(len(conf) - 1, -1, -1):
        if conf[position] in "[]":
            is_inside = conf[position] == "]"
        elif conf[position] == "," and not is_inside:
            commas.append(position)
    begin = 0
    for position in reversed(commas):
        yield conf[begin:position]
        begin = position + 1
    yield conf[begin:]


def _apply(settings: AllocatorSettings, key: str, value: str, version: TorchVersion) -> AllocatorSettings:
    if key in _UNMODELLED:
        raise UsageError(f"{key} is not simulated", hint=_UNMODELLED[key])
    if key not in _OPTIONS:
        raise UsageError(f"unknown allocator setting {key!r}", hint=did_you_mean(key, _OPTIONS))
    since, field, parse = _OPTIONS[key]
    if not version.has(since):
        raise UsageError(f"torch {version} has no allocator setting {key}", hint=f"it came with torch 2.{since}")
    parsed: Any = parse(key, value, version)
    return replace(settings, **{field: parsed}) if field else settings


def _checked(settings: AllocatorSettings, version: TorchVersion) -> AllocatorSettings:
    if settings.max_split_bytes < settings.large_segment_bytes:
        raise UsageError(
            f"max_split_size_mb:{settings.max_split_bytes // MIB} is below the large segment size",
            hint=f"it must be at least {settings.large_segment_bytes // MIB}",
        )
    return settings


def _megabytes(key: str, value: str, lowest_mb: int) -> int:
    if not re.fullmatch(r"\d{1,12}", value) or not lowest_mb <= int(value) <= _MAX_MB:
        raise UsageError(f"{key}:{value} is not legal", hint=f"it must be a whole number of MiB, at least {lowest_mb}")
    return int(value) * MIB


def _max_split(key: str, value: str, version: TorchVersion) -> int:
    return _megabytes(key, value, version.min_max_split_mb)


def _non_split_rounding(key: str, value: str, version: TorchVersion) -> int:
    return _megabytes(key, value, 20 if version.has(10) else 21)


def _large_segment(key: str, value: str, _version: TorchVersion) -> int:
    return _megabytes(key, value, 11)


def _number(key: str, value: str, expected: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"{key}:{value} is not a number", hint=expected) from None


def _threshold(key: str, value: str, _version: TorchVersion) -> float:
    number = _number(key, value, "write a number between 0 and 1, like 0.8")
    if not 0 < number < 1:
        raise UsageError(f"{key}:{value} is not legal", hint="it must lie between 0 and 1, both excluded")
    return number


def _fraction(key: str, value: str, _version: TorchVersion) -> float:
    number = _number(key, value, "write a number from 0 to 1, like 0.8")
    if not 0 <= number <= 1:
        raise UsageError(f"{key}:{value} is not legal", hint="it must lie between 0 and 1")
    return number


def _boolean(key: str, value: str, _version: TorchVersion) -> bool:
    if value not in ("True", "False"):
        raise UsageError(f"{key}:{value} is neither True nor False", hint=f"write {key}:True or {key}:False")
    return value == "True"


def _backend(key: str, value: str, _version: TorchVersion) -> None:
    if value != "native":
        raise UsageError(f"{key}:{value} is not simulated", hint="only PyTorch's native caching allocator is")


def _ignored(_key: str, _value: str, _version: TorchVersion) -> None:
    """Options which change no placement: host memory, locks, graph capture."""


def _power_of_two(text: str, what: str) -> int:
    number = int(text) if re.fullmatch(r"\d{1,12}", text) else 0
    if number < 1 or number & (number - 1):
        raise UsageError(f"{what} {text!r} is not a power of two", hint="write 1, 2, 4, 8, 16 ...")
    return number


def _divisions(key: str, value: str, version: TorchVersion) -> tuple[int, ...]:
    if not value.startswith("["):
        return (_power_of_two(value, f"the value of {key}"),) * NUM_DIVISION_BUCKETS
    if not value.endswith("]") or not value[1:-1].strip():
        raise UsageError(f"{key}:{value} is not a list", hint="write it like [256:1,512:2,>:8]")
    return _division_list(value[1:-1], version)


def _division_list(body: str, version: TorchVersion) -> tuple[int, ...]:
    """Buckets of "256:1,512:2,>:8": the first key fills all below it, `>` all that follow the last key."""
    buckets = [0] * NUM_DIVISION_BUCKETS
    last = 0
    for number, entry in enumerate(body.split(",")):
        size, colon, divisions = (part.strip() for part in entry.partition(":"))
        if not colon:
            raise UsageError(f"{entry.strip()!r} is no size:divisions pair", hint="write it like [256:1,512:2,>:8]")
        count = _power_of_two(divisions, "the number of divisions")
        if size == ">":
            start = last + 1 if version.starts_rest_after_last_key else last
            buckets[start:] = [count] * (NUM_DIVISION_BUCKETS - min(start, NUM_DIVISION_BUCKETS))
            break
        last = min(_power_of_two(size, "the size").bit_length() - 1, NUM_DIVISION_BUCKETS - 1)
        first = 0 if number == 0 else last
        buckets[first : last + 1] = [count] * (last + 1 - first)
    return tuple(buckets)


_Parser = Callable[[str, str, TorchVersion], Any]
_OPTIONS: dict[str, tuple[int, str | None, _Parser]] = {
    "max_split_size_mb": (0, "max_split_bytes", _max_split),
    "garbage_collection_threshold": (0, "garbage_collection_threshold", _threshold),
    "roundup_power2_divisions": (0, "divisions", _divisions),
    "expandable_segments": (1, "expandable_segments", _boolean),
    "max_non_split_rounding_mb": (6, "max_non_split_rounding_bytes", _non_split_rounding),
    "per_process_memory_fraction": (10, "memory_fraction", _fraction),
    "large_segment_size_mb": (11, "large_segment_bytes", _large_segment),
    "throw_on_cudamalloc_oom": (12, "throw_on_oom", _boolean),
    "backend": (0, None, _backend),
    "release_lock_on_cudamalloc": (0, None, _ignored),
    "pinned_use_cuda_host_register": (1, None, _ignored),
    "pinned_num_register_threads": (1, None, _ignored),
    "pinned_use_background_threads": (6, None, _ignored),
    "pinned_reserve_segment_size_mb": (10, None, _ignored),
    "graph_capture_record_stream_reuse": (10, None, _ignored),
}
_UNMODELLED = {
    "expandable_segments_reserve": "leave it out: the default reserves 9/8 of the device per pool and stream",
    "expandable_segments_reserve_by_class": "leave it out: the default reserves 9/8 of the device per pool and stream",
}
MIN_BLOCK_BYTES = 512
SMALL_LIMIT_BYTES = 1 * MIB
SMALL_SEGMENT_BYTES = 2 * MIB
MIN_EXACT_SEGMENT_BYTES = 10 * MIB
SEGMENT_GRANULE_BYTES = 2 * MIB


def division_bucket(size_bytes: int) -> int:
    """Index of the power-of-two bucket a size belongs to; bucket 0 is everything below 2 MiB."""
    return min(max(size_bytes.bit_length() - 21, 0), NUM_DIVISION_BUCKETS - 1)


def round_size(size_bytes: int, divisions: tuple[int, ...], *, keep_division_one: bool = False) -> int:
    """The block size in bytes for a request of `size_bytes`, given the divisions of each power of two."""
    if size_bytes < MIN_BLOCK_BYTES:
        return MIN_BLOCK_BYTES
    division = divisions[division_bucket(size_bytes)]
    if division > 1 and size_bytes > MIN_BLOCK_BYTES * division:
        step = (1 << (size_bytes.bit_length() - 1)) // division
        return -(-size_bytes // step) * step
    if division == 1 and keep_division_one and size_bytes > MIN_BLOCK_BYTES:
        return size_bytes
    return -(-size_bytes // MIN_BLOCK_BYTES) * MIN_BLOCK_BYTES


def segment_size(rounded_bytes: int, large_segment_bytes: int) -> int:
    """The bytes asked of CUDA for a block of `rounded_bytes`."""
    if rounded_bytes <= SMALL_LIMIT_BYTES:
        return SMALL_SEGMENT_BYTES
    if rounded_bytes < MIN_EXACT_SEGMENT_BYTES:
        return large_segment_bytes
    return -(-rounded_bytes // SEGMENT_GRANULE_BYTES) * SEGMENT_GRANULE_BYTES
