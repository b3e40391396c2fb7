"""`lrtool doctor`: does everything work here, what is known to go wrong, and a block to paste into a bug report."""

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lrtool.cli import options
from lrtool.cli.console import open_terminal, stdout_to_stderr
from lrtool.errors import UnavailableError

if TYPE_CHECKING:
    from lrtool.results import Doctor, Recorder

CONCURRENT_TESTS = 2


def command(
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.ColorChoice = "auto",
) -> None:
    """Check torch, CUDA, the driver, the allocator's settings, and five steps under each recorder; name known issues.

    Ends with 4 where something that should work on this machine does not, else with 0. Writes no run directory.

    Examples: lrtool doctor | lrtool doctor --json
    """
    from lrtool.cli.output import print_document

    terminal = open_terminal(color=options.color(color), quiet=quiet, verbose=verbose)
    terminal.note("looking at torch, the GPU and the allocator, and taking five steps under each recorder")
    with stdout_to_stderr():
        result = examine()
    if as_json:
        print_document(terminal, _document(result))
    else:
        from lrtool.report.doctor import doctor_lines

        terminal.result(*doctor_lines(result))
    if not result.is_usable:
        raise UnavailableError("something that should work on this machine does not", hint="see the lines above")


def examine() -> "Doctor":
    """Everything there is to find out. Raises UnavailableError where torch cannot be imported."""
    begin = time.perf_counter()
    _import_torch()
    from lrtool.memory.allocator.versions import torch_version
    from lrtool.memory.environment.installation import check_allocator, look_at_installation
    from lrtool.memory.environment.known_issues import known_issues_of
    from lrtool.results import Doctor
    from lrtool.sweep.executors.subprocess import SubprocessExecutor
    from lrtool.sweep.self_test import run_self_tests

    version = torch_version()
    with tempfile.TemporaryDirectory(prefix="lrtool-doctor-") as folder:
        tests = run_self_tests(Path(folder), SubprocessExecutor(slots=[{}] * CONCURRENT_TESTS), absent=_absent())
    return Doctor(
        is_usable=all(test.status != "failed" for test in tests),
        installation=look_at_installation(),
        allocator=check_allocator(),
        self_tests=tests,
        traps=known_issues_of((version.major, version.minor)),
        duration_s=time.perf_counter() - begin,
    )


def _absent() -> "dict[Recorder, str]":
    """The recorders that this machine has nothing for, and why."""
    import torch

    from lrtool.tracing.tracer.canary import send_canary

    absent: dict[Recorder, str] = {}
    if not torch.cuda.is_available():
        absent["cuda"] = "no CUDA device here" if torch.version.cuda else "torch is built without CUDA"
    canary = send_canary()
    if canary.reason is not None:
        absent["predicted"] = canary.reason
    return absent


def _import_torch() -> None:
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        raise UnavailableError(
            f"torch cannot be imported: {error}",
            hint="install it anew, for this Python; nothing can be measured without",
        ) from error


def _document(result: "Doctor") -> dict[str, object]:
    from lrtool.results import Run, document
    from lrtool.results.stored.run_dir import environment

    run = Run(
        command="doctor",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        arguments=tuple(sys.argv[1:]),
        environment=environment(),
        result=result,
    )
    return document(run, run_dir=None)
