"""A file that the user asked for by name: written where it leads, and nothing else is overwritten."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lrtool.errors import UnavailableError, UsageError
from lrtool.results.stored.run_dir import RUN_FILE, atomic_text
from lrtool.results.stored.trial_dir import PLAN_FILE
from lrtool.small_file import read_small

_DESCRIPTOR = re.compile(r"/(?:dev/fd|proc/(?:self|thread-self|\d+)/fd)/(\d+)")
_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedFile:
    """Where it is written to: a `path` whose file is replaced as a whole, or else one that is written into as it is."""

    path: Path
    is_replaced: bool

    @contextmanager
    def opened(self) -> Iterator[TextIO]:
        """A text file to write. Raises UnavailableError."""
        if self.is_replaced:
            with atomic_text(self.path) as file:
                yield file
            return
        try:
            with open(_opened(self.path), "w", encoding="utf-8") as file:  # noqa: PTH123  it may be a descriptor
                yield file
        except BrokenPipeError:
            return  # its reader has seen enough
        except OSError as error:
            raise UnavailableError(f"cannot write {self.path}: {error.strerror}", hint="choose another file") from error

    def write(self, text: str) -> None:
        """Raises UnavailableError."""
        with self.opened() as file:
            file.write(text)


def asked_file(
    path: Path,
    *,
    option: str,
    force: bool,
    inputs: Sequence[Path] = (),
    is_ours: Callable[[bytes], bool] = lambda content: False,
) -> AskedFile:
    """The file that `option` names, checked before anything is done for it. A link's target is meant, and the link stays.

    Raises UsageError for a folder, one of the `inputs`, a Python file, one inside a run directory, and for one that is there
    already, unless with `force`, or where `is_ours` knows its content.
    """
    if path == Path() or path.is_dir():
        raise UsageError(f"{option} {str(path)!r} is a folder", hint="give the name of a file")
    if _descriptor(path) is not None or (path.exists() and not path.is_file()):
        return AskedFile(path=path, is_replaced=False)
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise UsageError(f"{option} {path} is a link that leads nowhere", hint="give another file")
    if any(_is_same(target, each) for each in inputs):
        raise UsageError(f"{option} {path} is what is read", hint="give another file")
    if target.suffix == ".py":
        raise UsageError(f"{option} {path} is a Python file", hint="give a file that is no program")
    inside = next((folder for folder in target.parents if _is_run_dir(folder)), None)
    if inside is not None:
        raise UsageError(f"{option} {path} lies in the run directory {inside}", hint="give a file outside of it")
    if target.exists() and not force and not _is_ours(target, is_ours):
        raise UsageError(
            f"{option} {path} is there already", hint="--force overwrites it; another name leaves it alone"
        )
    return AskedFile(path=target, is_replaced=True)


def _descriptor(path: Path) -> int | None:
    """The number of an open file of this process that a path names; None for any other path."""
    text = os.path.abspath(path)  # noqa: PTH100  not resolved: the link itself says it
    found = _DESCRIPTOR.fullmatch(text)
    return _STREAMS.get(text, int(found[1]) if found else None)


def _opened(path: Path) -> Path | int:
    """What is opened for a path that is written into: an open file goes on where it stands."""
    number = _descriptor(path)
    return path if number is None else os.dup(number)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _is_run_dir(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RUN_FILE, PLAN_FILE))


def _is_ours(path: Path, knows: Callable[[bytes], bool]) -> bool:
    try:
        return knows(read_small(path))
    except (UsageError, FileNotFoundError):
        return False
