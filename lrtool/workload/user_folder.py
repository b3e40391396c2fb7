"""The folder of the user's file, for imports: last for libraries, which must not take a file there for their own, and
first for the user's own code, as if Python ran it.
"""

import builtins
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

from lrtool.workload.user_code import is_users_file

_import = builtins.__import__


def add_folder(folder: str) -> None:
    """Let imports find what is in `folder`. Where a name there is also that of a library, each finds its own.

    What the user's code imports by such a name is kept apart from `sys.modules`, where libraries look.
    """
    sys.path[:] = [*(path for path in sys.path if path != folder), folder]
    names = frozenset(name for name in _modules_in(Path(folder)) if _is_elsewhere(name, folder))
    if names and (folder not in _VIEWS or _VIEWS[folder].names != names):
        _VIEWS[folder] = _View(folder, names)
        builtins.__import__ = _imported


@contextmanager
def seen_by_user(folder: str, name: str) -> Iterator[None]:
    """While a module of the user's is imported by name, it is found in `folder` first, unless that name is taken."""
    view = _VIEWS.get(folder)
    if view is None or name not in view.names or (name in sys.modules and name not in view.own):
        yield
        return
    with view.entered(view.own):
        yield


class _View:
    """A folder whose `names` libraries have too; `own` are the modules that the user's imports of them found."""

    def __init__(self, folder: str, names: frozenset[str]) -> None:
        self.folder, self.names = folder, names
        self.own: dict[str, ModuleType] = {}
        self.others: dict[str, ModuleType] = {}
        self._modules = self.others
        self._lock = RLock()

    def of(self, importer: Mapping[str, Any] | None) -> dict[str, ModuleType]:
        """The modules of that name as whoever imports them sees them."""
        file = None if importer is None else importer.get("__file__")
        return self.own if isinstance(file, str) and _is_below(file, self.folder) else self.others

    @contextmanager
    def entered(self, modules: dict[str, ModuleType]) -> Iterator[None]:
        """Show `modules`, and keep there what is imported meanwhile."""
        with self._lock:
            before = self._modules
            self._swap(modules)
            try:
                yield
            finally:
                self._swap(before)

    def _swap(self, modules: dict[str, ModuleType]) -> None:
        if modules is self._modules:
            return
        shown = {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] in self.names}
        self._modules.clear()
        self._modules.update(shown)
        for name in shown:
            del sys.modules[name]
        sys.modules.update(modules)
        if modules is self.own:
            sys.path.insert(0, self.folder)
        else:
            sys.path.remove(self.folder)
        self._modules = modules


_VIEWS: dict[str, _View] = {}


def _imported(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Any = (),
    level: int = 0,
) -> Any:
    """Python's `import`, for names that the user's folder and a library both have."""
    top = name.partition(".")[0]
    for view in _VIEWS.values() if level == 0 else ():
        if top in view.names:
            with view.entered(view.of(globals)):
                return _import(name, globals, locals, fromlist, level)
    return _import(name, globals, locals, fromlist, level)


def _modules_in(folder: Path) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        name = entry.name.partition(".")[0]
        if entry.name.endswith((".py", ".so", ".pyd")) or (Path(entry.path) / "__init__.py").is_file():
            yield name


def _is_elsewhere(name: str, folder: str) -> bool:
    if name in sys.stdlib_module_names:
        return True
    found = PathFinder.find_spec(
        name, [path for path in sys.path if os.path.realpath(path) != os.path.realpath(folder)]
    )
    return found is not None and found.origin is not None


@cache
def _is_below(file: str, folder: str) -> bool:
    return Path(file).resolve().is_relative_to(Path(folder).resolve()) and is_users_file(file)
