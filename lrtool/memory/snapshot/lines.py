"""Which line of a recorded stack is the user's own: the innermost that belongs to no library, on Linux and on Windows."""

import re
from functools import lru_cache

from lrtool.memory.trace.text import plain_text

_LIBRARY = re.compile(
    r"(?:^|/)(?:site-packages|dist-packages|torch|lib/python[\d.]*t?|torchinductor_[^/]*)/|^<frozen|^\?\?",
    re.IGNORECASE,
)
"""Installed packages, torch itself, Python's own modules (lib/python3.11/runpy.py), and what Inductor wrote for a model."""
_WINDOWS_STANDARD_LIBRARY = re.compile(
    r"/(?:python(?:\d[\w.-]*)?|pythonsoftwarefoundation\.[^/]+|cpython-[^/]+|versions/\d[\d.]*|envs/[^/]+"
    r"|(?:ana|mini)conda\d*|mini(?:forge|mamba)\d*|mambaforge\d*)/lib/",
    re.IGNORECASE,
)
"""There, Python has its modules in the folder Lib beside python.exe, and so has an environment of conda."""
_NOTEBOOK = re.compile(r"<ipython-input-[\w-]+>")


def own_line(filename: str, line: int) -> str | None:
    """`file.py:line` where a program's own file, or a cell of a notebook, is named; None for a library's."""
    name = _own_name(filename)
    return None if name is None else f"{name}:{line}"


@lru_cache(maxsize=4096)
def _own_name(filename: str) -> str | None:
    path = filename.replace("\\", "/")
    if _NOTEBOOK.fullmatch(path):
        return path.strip("<>")
    if not path.endswith(".py") or _LIBRARY.search(path) or _WINDOWS_STANDARD_LIBRARY.search(path):
        return None
    return plain_text(path.rsplit("/", 1)[-1])
