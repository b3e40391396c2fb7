"""The run directory: numbered, each file written atomically, `run.json` last; opened by number, path or `last`."""

import io
import os
import platform
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO, TextIO

from lrtool.errors import UnavailableError, UsageError
from lrtool.results import Environment, Result, Run, run_from_json, run_to_json
from lrtool.small_file import read_small

RUN_FILE = "run.json"
_MOST_DIGITS = 300
"""Of a run's number: no file has a longer name, and Python refuses to read over 4,300."""


def make_folder(path: Path) -> None:
    """Raises UnavailableError."""
    with _disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def create_run_dir(parent: Path, *, command: str) -> Path:
    """A new folder `parent/0007-command`, its number one above the highest there. Raises UnavailableError."""
    make_folder(parent)
    with _disk_errors(parent):
        number = max((_number(path) for path in parent.iterdir()), default=0)
        while True:
            number += 1
            path = parent / f"{number:04d}-{command}"
            try:
                path.mkdir()
            except FileExistsError:  # another process took the number a moment ago
                continue
            probe = path / ".probe"
            probe.touch()
            probe.unlink()
            return path


@contextmanager
def owned(run_dir: Path) -> Iterator[None]:
    """Write into a run directory as the only process that does; the lock ends with its owner, however that ends.

    Raises UnavailableError, which names the process that writes into it now.
    """
    lock = _lock(run_dir)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock(run_dir: Path) -> int | None:
    """The descriptor that holds the lock; None where the system, or the file system, has no such locks."""
    try:
        import fcntl

        directory = os.open(run_dir, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(os.fstat(directory).st_ino)
        os.close(directory)
        raise UnavailableError(
            f"{run_dir} is being written by {owner}", hint="wait until that run is done, or end it"
        ) from None
    except OSError:
        os.close(directory)
        return None
    return directory


def _owner(inode: int) -> str:
    """The process that has locked a file, as Linux tells it."""
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            kind, pid, place = (line.split()[index] for index in (1, 4, 5))
            if kind == "FLOCK" and place.rpartition(":")[2] == str(inode):
                return f"process {pid}"
    return "another process"


def write_file(path: Path, content: str | bytes, *, is_private: bool = False) -> None:
    """Write so that a reader sees the old file or the whole new one, never a part. Raises UnavailableError.

    A private file is for its owner alone, from its first byte on.
    """
    with _atomic(path, is_private=is_private) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """A text file to write line by line, which appears under its name only once it is whole. Raises UnavailableError."""
    with _atomic(path) as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8")
        yield file
        file.flush()
        file.detach()


@contextmanager
def _atomic(path: Path, *, is_private: bool = False) -> Iterator[BinaryIO]:
    """A new file of a name that nobody can foresee takes the place of the old one, with its mode."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with _disk_errors(path):
        try:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if is_private else 0o666
            )
            with os.fdopen(descriptor, "wb") as file:
                with suppress(FileNotFoundError):
                    old = path.lstat().st_mode
                    if stat.S_ISREG(old) and not is_private:
                        os.fchmod(descriptor, stat.S_IMODE(old))
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_run(run_dir: Path, run: Run[Result]) -> None:
    write_file(run_dir / RUN_FILE, run_to_json(run))


def open_run(name: str, *, parent: Path) -> tuple[Path, Run[Result]]:
    """The run directory called `name`, see `find_run`, and what it holds. Raises UsageError."""
    run_dir = find_run(name, parent=parent)
    file = run_dir / RUN_FILE
    try:
        content = read_small(file)
    except FileNotFoundError:
        raise UsageError(
            f"{run_dir} holds no {RUN_FILE}",
            hint="its command was killed before it had anything to store, or it is no run",
        ) from None
    return run_dir, run_from_json(content, source=str(file))


def last_of(parent: Path, command: str, is_wanted: Callable[[Result], bool]) -> tuple[Path, Result] | None:
    """The newest readable run of a command below `parent` whose result is wanted."""
    for run_dir in reversed(_runs(parent)):
        if run_dir.name.endswith(f"-{command}"):
            with suppress(UsageError):
                result = open_run(str(run_dir), parent=parent)[1].result
                if is_wanted(result):
                    return run_dir, result
    return None


def environment() -> Environment:
    """Versions and hardware, without host or user names, and without importing torch where nobody has yet."""
    torch = sys.modules.get("torch")
    cuda = torch is not None and torch.cuda.is_available()
    return Environment(
        lrtool=_version("lrtool"),
        python=platform.python_version(),
        torch=torch.__version__ if torch is not None else _version("torch"),
        platform=f"{platform.system()} {platform.machine()}",
        num_cpus=os.cpu_count() or 1,
        device_name=torch.cuda.get_device_name() if torch is not None and cuda else None,
        cuda=torch.version.cuda if torch is not None and cuda else None,
        allocator_settings=os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF"),
    )


def find_run(name: str, *, parent: Path) -> Path:
    """The run directory called `name`: a path, or a number or "last" below `parent`. Raises UsageError."""
    path = Path(name)
    if path.is_file() and path.name == RUN_FILE:
        return path.parent
    if path.is_dir():
        return path
    runs = _runs(parent)
    if name == "last" and runs:
        return runs[-1]
    if name.isdecimal() and len(name) <= _MOST_DIGITS and (found := [p for p in runs if _number(p) == int(name)]):
        return found[0]
    known = f"here: {', '.join(p.name for p in runs[-5:])}" if runs else f"{parent} holds no runs"
    raise UsageError(f"no run {name!r}", hint=f"give a run directory, its number, or last; {known}")


def _runs(parent: Path) -> list[Path]:
    return sorted((path for path in parent.iterdir() if _number(path)), key=_number) if parent.is_dir() else []


def _number(path: Path) -> int:
    head = path.name.partition("-")[0]
    return int(head) if head.isdecimal() and head.isascii() else 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnavailableError(
            f"cannot write {path}: {reason[:1].lower()}{reason[1:]}",
            hint="choose another folder (--out, for runs), or make room",
        ) from error
