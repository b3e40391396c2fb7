"""How a request becomes a block size, and a block size a segment size; values as in c10/core/AllocatorConfig.h."""

MIB = 2**20
MIN_BLOCK_BYTES = 512
SMALL_LIMIT_BYTES = 1 * MIB
SMALL_SEGMENT_BYTES = 2 * MIB
LARGE_SEGMENT_BYTES = 20 * MIB
MIN_EXACT_SEGMENT_BYTES = 10 * MIB
SEGMENT_GRANULE_BYTES = 2 * MIB
NUM_DIVISION_BUCKETS = 16
UNLIMITED_BYTES = 2**63


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
