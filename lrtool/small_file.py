"""Small files that somebody else may have written: only regular ones are read, and only so much of them."""

import os
import stat
from pathlib import Path

from lrtool.errors import UsageError

MAX_SETTINGS_BYTES = 2**20
MAX_RESULT_BYTES = 2**28
"""A range test of a million steps fits, and what is larger was not written by lrtool."""


def read_small(path: Path, *, max_bytes: int = MAX_RESULT_BYTES) -> bytes:
    """The content of a file. Raises FileNotFoundError, and UsageError for a device, a pipe, a folder, or one that is larger.

    Nothing that `path` may be makes this wait, or fills the memory.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _unreadable(path, "it is a folder" if stat.S_ISDIR(mode) else "it is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            content = file.read(max_bytes + 1)
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from None
    if len(content) > max_bytes:
        raise _unreadable(path, f"it is larger than {max_bytes // 2**20} MiB")
    return content


def text_of(content: bytes, *, source: Path) -> str:
    """UTF-8, with a byte-order mark or without. Raises UsageError that names the first byte that is none."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{source} is not UTF-8: byte {content[error.start]:#04x} at {error.start}"
        raise UsageError(message, hint="save it as UTF-8") from None


def _unreadable(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"{path} cannot be read: {reason[:1].lower()}{reason[1:]}",
        hint="give a regular file, and check its permissions",
    )
