"""What tracing costs: seconds per traced step and memory added, of GPT-2 small and of Llama-7B.

    python benchmarks/tracing_cost.py [--steps 3] [--only gpt2|llama]

Each is traced in a process of its own on fake CUDA tensors. Added memory is the peak of the process less what it held
after importing torch and lrtool. Bounds: GPT-2 small (batch 8, 1024 tokens) 0.5 s a step; Llama-7B (bf16, 2048 tokens)
2 s a step and 300 MiB.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from lrtool.tracing.tracer.tracer import TraceSettings, trace
from lrtool.workload.target import from_callable
from tests.tracing.tracer import traced_models as models

BOUNDS = {"gpt2": (0.5, None), "llama": (2.0, 300)}


def gpt2() -> dict[str, object]:
    """GPT-2 small: batch 8, 1024 tokens."""
    return models.gpt(batch=8, time=1024, layers=12, width=768, heads=12, vocabulary=50257)


def llama() -> dict[str, object]:
    """Llama-7B in bf16: batch 1, 2048 tokens."""
    return models.llama(
        batch=1, time=2048, layers=32, width=4096, heads=32, inner=11008, vocabulary=32000, dtype=torch.bfloat16
    )


def main() -> None:
    """Measure in child processes, and print one line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", choices=list(BOUNDS))
    parser.add_argument("--here", action="store_true", help="measure in this process")
    options = parser.parse_args()
    if options.here:
        _measure(options.only, options.steps)
        return
    for name in [options.only] if options.only else BOUNDS:
        command = [sys.executable, __file__, "--here", "--only", name, "--steps", str(options.steps)]
        subprocess.run(command, check=True)


def _measure(name: str, num_steps: int) -> None:
    before = _peak_mib()
    build = {"gpt2": gpt2, "llama": llama}[name]
    found = trace(from_callable(build, params={}), TraceSettings(num_steps=num_steps, until_steady=False))
    added = _peak_mib() - before
    first, *later = found.step_durations_s
    seconds, mib = BOUNDS[name]
    print(
        f"{name:6} build {found.build_duration_s:5.2f} s  first step {first:5.2f} s  later {statistics.median(later):5.2f} s "
        f"(bound {seconds} s)  added {added} MiB{f' (bound {mib} MiB)' if mib else ''}  "
        f"{len(found.trace) / num_steps:,.0f} requests a step"
    )


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
