"""How many requests per second the simulated allocator answers in one plain Python process.

    python benchmarks/allocator_throughput.py [--requests 100000 1000000] [--steps 7000]

Training-step traffic (parameters, activations kept for backward, gradients, workspaces of odd sizes) is replayed
without per-request rows and without proving repetitions, and set against a bare loop over the same columns; then a long
run of identical steps is answered with the proof. Seconds are CPU seconds, so that a busy machine tells the same; memory
is the peak of the whole process.
"""

import argparse
import random
import resource
import time

from lrtool.memory.replay.replay import replay
from lrtool.memory.trace.allocation_trace import AllocationTrace, Op
from lrtool.memory.trace.builder import TraceBuilder

_LAYERS = 48


def main() -> None:
    """Measure and print one line per trace length, and one for the proof."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=7_000)
    options = parser.parse_args()
    for num_requests in options.requests:
        _measure(varied_steps(num_requests))
    _measure_proof(options.steps)


def varied_steps(num_requests: int) -> AllocationTrace:
    """Training steps with a batch length of their own each, so that none repeats."""
    builder, chance = TraceBuilder("varied"), random.Random(0)
    _parameters(builder, chance)
    while len(builder) < num_requests:
        _step(builder, length=chance.randrange(64, 512), chance=chance)
    return builder.build()


def equal_steps(times: int) -> AllocationTrace:
    """One training step, repeated."""
    builder, chance = TraceBuilder("equal"), random.Random(0)
    _parameters(builder, chance)
    builder.begin_repeat(times)
    _step(builder, length=300, chance=chance)
    builder.end_repeat()
    return builder.build()


def _parameters(builder: TraceBuilder, chance: random.Random) -> None:
    for layer in range(_LAYERS):
        builder.alloc(("weight", layer), chance.choice([768 * 768, 768 * 3072]) * 4)
        builder.alloc(("bias", layer), 768 * 4)


def _step(builder: TraceBuilder, *, length: int, chance: random.Random) -> None:
    """Forward keeps activations, backward frees them and makes gradients, the optimizer frees those."""
    builder.call(Op.STEP)
    for layer in range(_LAYERS):
        for part, width in enumerate((768, 2304, 768, 3072)):
            builder.alloc(("workspace", layer, part), chance.randrange(512, 2**20))
            builder.alloc(("activation", layer, part), length * width * 4)
            builder.free(("workspace", layer, part))
    for layer in reversed(range(_LAYERS)):
        for part in reversed(range(4)):
            builder.alloc(("gradient", layer, part), length * 768 * 4)
            builder.free(("activation", layer, part))
            if part < 3:
                builder.free(("gradient", layer, part + 1))
        builder.free(("gradient", layer, 0))
        builder.alloc(("weight gradient", layer), 768 * 3072 * 4)
    for layer in range(_LAYERS):
        builder.free(("weight gradient", layer))


def _bare_loop(trace: AllocationTrace) -> float:
    begin = time.process_time()
    total = 0
    for op, slot, value, on in zip(trace.ops, trace.slots, trace.values, trace.streams, strict=True):
        if op == 0:
            total += value
        elif op == 1:
            total -= slot
        else:
            total ^= on
    return time.process_time() - begin


def _measure(trace: AllocationTrace) -> None:
    begin = time.process_time()
    result = replay(trace, prove=False)
    took = time.process_time() - begin
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{len(trace):>9,} requests  {took:6.2f} s  {len(trace) / took:>9,.0f} requests/s  "
        f"{took / _bare_loop(trace):4.1f} x a bare loop  process peak {peak_mib} MiB  "
        f"(peak reserved {result.peaks.reserved_bytes:,} B)"
    )


def _measure_proof(times: int) -> None:
    for steps in (10, times):
        trace = equal_steps(steps)
        begin = time.process_time()
        result = replay(trace)
        took = time.process_time() - begin
        print(f"{steps:>9,} equal steps  {took:6.4f} s  {result.num_played:,} of {len(trace):,} requests played")


if __name__ == "__main__":
    main()
