"""A replay's peaks are those of the whole run."""

import pytest

from lrtool.memory.replay.replay import replay
from lrtool.memory.trace.allocation_trace import Op
from lrtool.memory.trace.builder import TraceBuilder

MIB = 2**20


@pytest.mark.parametrize("num_resets", [0, 1, 3])
def test_a_program_that_resets_its_peaks_needs_no_less_memory(num_resets: int) -> None:
    builder = TraceBuilder()
    builder.alloc("big", 40 * MIB)
    builder.free("big")
    builder.call(Op.EMPTY_CACHE)
    for _ in range(num_resets):
        builder.call(Op.RESET_PEAK)
    builder.alloc("small", 20 * MIB)
    found = replay(builder.build())

    assert found.peaks.allocated_bytes == found.peaks.reserved_bytes == found.peaks.active_bytes == 40 * MIB
    assert found.stats["allocated_bytes.all.peak"] == (20 if num_resets else 40) * MIB
