"""A program that catches OutOfMemoryError, traced once more with a limit on memory that raises it."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from lrtool.errors import LrtoolError
from lrtool.tracing.tracer.limit import Failure, Gate, Limit
from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, trace
from lrtool.workload.target import Factory
from lrtool.workload.user_code import users_files

_CATCHES = re.compile(
    r"OutOfMemoryError|out of memory|find_executable_batch_size|except\s*\(.*RuntimeError"
    r"|except\s*(?:RuntimeError|Exception|BaseException)?\s*(?:as \w+)?:"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtOom:
    """What became of a program that caught torch's error: `traced` is its run, None where it died of a later one.

    `failures` are the requests that failed, in their order.
    """

    failures: tuple[Failure, ...]
    traced: TracedRun | None


def may_catch() -> bool:
    """Whether the user's code, as far as it is imported, has a clause that would catch the error."""
    return any(_CATCHES.search(_text(file)) for file in users_files())


def trace_with_limit(factory: Factory, settings: TraceSettings, limit: Limit) -> CaughtOom | None:
    """Trace with a limit on memory; None where nothing caught the error, or something else went wrong."""
    gate = Gate(limit)
    try:
        traced = trace(factory, settings, gate=gate)
    except LrtoolError as error:
        is_dead = len(gate.failures) > 1 and isinstance(error.__cause__, torch.OutOfMemoryError)
        return CaughtOom(failures=tuple(gate.failures), traced=None) if is_dead else None
    return CaughtOom(failures=tuple(gate.failures), traced=traced)


def _text(file: str) -> str:
    try:
        return Path(file).read_text(errors="replace")
    except OSError:
        return ""
