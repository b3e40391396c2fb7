"""A command line tried in a process of its own, among circumstances that a shell, a container or a CI job may make."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from benchmarks.fuzz.attempts import Attempt, Outcome
from benchmarks.fuzz.folder import Template

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 180.0
STDOUTS = ("pipe", "pipe", "pipe", "pipe", "leaves at once", "leaves early", "/dev/full", "closed", "file")
FOLDERS = ("here", "here", "here", "here", "here", "read-only", "deleted")
ENVIRONMENTS: tuple[Mapping[str, str], ...] = (
    {}, {}, {}, {"COLUMNS": "0"}, {"NO_COLOR": "1"}, {"LANG": "C", "LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"},
    {"TERM": "dumb"}, {"TMPDIR": "/proc/nonexistent"}, {"PYTHONUNBUFFERED": "1"}, {"HOME": "/proc/nonexistent"},
    {"CI": "1", "GITHUB_ACTIONS": "true"}, {"PYTHONSAFEPATH": "1"},
    {"MPLBACKEND": "nonsense"}, {"PYTHONOPTIMIZE": "2"},
)  # fmt: skip
_SHELL = {
    "deleted": 'mkdir gone && cd gone && rmdir ../gone && exec "$@"',
    "read-only": 'chmod a-w . && exec "$@"',
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """Where stdout leads, whether there is a stdin, and what the folder is like."""

    stdout: str
    has_stdin: bool
    folder: str
    environment: Mapping[str, str] = field(default_factory=dict)


def circumstances(draw: Random) -> Circumstances:
    return Circumstances(
        stdout=draw.choice(STDOUTS),
        has_stdin=draw.random() < 0.8,
        folder=draw.choice(FOLDERS),
        environment=draw.choice(ENVIRONMENTS),
    )


def as_process(attempt: Attempt, around: Circumstances) -> Attempt:
    """The attempt with what a process can be given: no zero bytes, no halves of characters."""
    return replace(
        attempt,
        arguments=tuple(word for word in attempt.arguments if _can_be_given(word)),
        environment={**attempt.environment, **around.environment},
        limit_s=LIMIT_S,
    )


def _can_be_given(word: str) -> bool:
    try:
        return b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False


def try_process(attempt: Attempt, around: Circumstances, template: Template, folder: Path) -> Outcome:
    """What the process leaves behind, which begins in a fresh copy of the template in `folder`."""
    template.copy_to(folder)
    if attempt.file is not None:
        (folder / attempt.file).write_bytes(attempt.content)
    shell = ["sh", "-c", _SHELL[around.folder], "sh"] if around.folder in _SHELL else []
    with (folder.parent / "stdout").open("w+b") as out, (folder.parent / "stderr").open("w+b") as err:
        stdout = _stdout_of(around, out.fileno())
        process = subprocess.Popen(
            [*shell, sys.executable, "-m", "lrtool", *attempt.arguments], cwd=folder, start_new_session=True,
            env=_environment(attempt), stdin=subprocess.DEVNULL, stdout=stdout, stderr=err,
            preexec_fn=lambda: _close(around),
        )  # fmt: skip
        if stdout not in (subprocess.PIPE, out.fileno()):
            os.close(stdout)
        if process.stdout is not None:
            process.stdout.read(0 if around.stdout == "leaves at once" else 1)
            process.stdout.close()
        code = _code_of(process)
        out.seek(0)
        err.seek(0)
        return Outcome(code=code, out=out.read().decode(errors="replace"), err=err.read().decode(errors="replace"))


def _stdout_of(around: Circumstances, file: int) -> int:
    if around.stdout.startswith("leaves"):
        return subprocess.PIPE
    return os.open("/dev/full", os.O_WRONLY) if around.stdout == "/dev/full" else file


def _close(around: Circumstances) -> None:
    """In the new process: what `<&-` and `>&-` do."""
    if not around.has_stdin:
        os.close(0)
    if around.stdout == "closed":
        os.close(1)


def _environment(attempt: Attempt) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LRTOOL_")}
    return {**kept, "PYTHONPATH": str(ROOT), **attempt.environment}


def _code_of(process: "subprocess.Popen[bytes]") -> int | None:
    try:
        return process.wait(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
