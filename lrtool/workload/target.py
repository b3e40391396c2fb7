"""A target is what a command is pointed at: `model.py`, `model.py:build`, `package.module:build`, or a bundled name.

`load` finds its factory; `Factory.build` calls it, as often as trials need a fresh start.
"""

import ast
import importlib
import importlib.util
import inspect
import random
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from lrtool.errors import UsageError, WorkloadError, did_you_mean
from lrtool.examples import BUNDLED
from lrtool.workload.adapters import as_workload, bare_module, is_lightning_class
from lrtool.workload.user_code import user_code
from lrtool.workload.user_folder import add_folder, seen_by_user
from lrtool.workload.workload import Workload

DEFAULT_ATTRIBUTE = "build"


@dataclass(frozen=True, kw_only=True, slots=True)
class Factory:
    """A function that makes a workload, with the values its arguments get."""

    name: str
    function: Callable[..., Any]
    params: Mapping[str, Any] = field(default_factory=dict)

    def build(self, *, seed: int, device: torch.device) -> Workload:
        """A fresh workload on `device`, every random generator seeded before. Raises WorkloadError, UsageError."""
        seed_everything(seed)
        declared = inspect.signature(self.function).parameters
        automatic = {"seed": seed, "device": device}
        arguments = {name: value for name, value in automatic.items() if name in declared} | dict(self.params)
        with user_code(self.name):
            returned = self.function(**arguments)
        return as_workload(returned, name=self.name)


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (CPU, every CUDA device, MPS)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # not torch.manual_seed, which asks every backend: that takes as long as two steps of a small model
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def load(target: str, *, params: Mapping[str, str | int | float | bool] | None = None) -> Factory:
    """Import the target and check the arguments of its factory, without calling it.

    Raises UsageError where the name leads nowhere or an argument does not fit, WorkloadError where the code fails.
    """
    location, attribute = _split(BUNDLED.get(target, target))
    module = _import_file(Path(location)) if _is_file_name(location) else _import_module(location, target)
    function = _attribute(module, attribute, location)
    return from_callable(function, params=params or {}, name=f"{attribute}()")


def load_function(name: str) -> Callable[..., Any]:
    """The function that "file.py:function" or "package.module:function" names. Raises UsageError, WorkloadError."""
    location, colon, attribute = name.rpartition(":")
    if not colon or not attribute.isidentifier():
        raise UsageError(f"{name!r} names no function", hint="write file.py:function, or package.module:function")
    module = _import_file(Path(location)) if _is_file_name(location) else _import_module(location, name)
    return _attribute(module, attribute, location)


def from_callable(function: Callable[..., Any], *, params: Mapping[str, Any], name: str | None = None) -> Factory:
    """The factory of a function that returns a workload. Raises UsageError for an argument that does not fit."""
    name = name or f"{getattr(function, '__name__', 'build')}()"
    signature = inspect.signature(function)
    _check_arguments(signature, params, name)
    values = {key: _converted(value, key, signature, name) for key, value in params.items()}
    return Factory(name=name, function=function, params=values)


def _split(target: str) -> tuple[str, str]:
    location, colon, attribute = target.rpartition(":")
    if colon and re.fullmatch(r"[A-Za-z_][\w.]*", attribute) and location:
        return location, attribute
    return target.removesuffix(":"), DEFAULT_ATTRIBUTE


def _is_file_name(location: str) -> bool:
    looks_like_one = location.endswith(".py") or "/" in location or "\\" in location
    is_package = (Path(location) / "__init__.py").exists()
    return looks_like_one or (location != "" and Path(location).exists() and not is_package)


def _import_file(path: Path) -> ModuleType:
    _check_file(path)
    folder, name = str(path.resolve().parent), path.stem
    add_folder(folder)
    importlib.invalidate_caches()
    with user_code(f"importing {path}"), seen_by_user(folder, name):
        module = importlib.import_module(name) if "." not in name else _import_odd_name(path)
    if not _is_same_file(module, path):
        found = getattr(module, "__file__", None) or "built into Python"
        raise UsageError(f"{path} has the name of the module {name!r}, which is {found}", hint="rename the file")
    return module


def _import_odd_name(path: Path) -> ModuleType:
    """A file whose stem has dots cannot be imported by name; its functions then cannot be pickled by spawned workers."""
    name = re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _check_file(path: Path) -> None:
    if path.is_dir():
        inside = sorted(p.name for p in path.glob("*.py"))[:5]
        hint = f"name a file in it: {', '.join(inside)}" if inside else "name a Python file"
        raise UsageError(f"{path} is a directory, not a Python file", hint=hint)
    if not path.exists():
        near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, near) if near else f"there are no Python files in {path.parent.resolve()}"
        raise UsageError(f"there is no file {path}", hint=hint)
    if path.suffix != ".py":
        raise UsageError(f"{path} is not a Python file", hint="give a file that ends in .py and has a build() function")


def _is_same_file(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


def _import_module(name: str, target: str) -> ModuleType:
    add_folder(str(Path.cwd()))
    if not _is_importable(name):
        raise UsageError(
            f"{target!r} is neither a file, nor a module, nor a bundled workload", hint=_nearest_target(name)
        )
    with user_code(f"importing {name}"):
        return importlib.import_module(name)


def _is_importable(name: str) -> bool:
    """Whether a module of that name exists; its parent packages are imported to find out."""
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        return False
    with user_code(f"importing {name.rpartition('.')[0]}"):
        try:
            return importlib.util.find_spec(name) is not None
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                return False
            raise
        except ValueError:  # a module without a spec, such as __main__
            return False


def _nearest_target(name: str) -> str:
    files = [p.name for p in Path.cwd().glob("*.py")]
    return did_you_mean(name, [*BUNDLED, *files])


def _attribute(module: ModuleType, attribute: str, location: str) -> Callable[..., Any]:
    value: Any = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if value is None:
        functions = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
        known = f"{did_you_mean(attribute, functions)} (write {location}:NAME)"
        raise UsageError(f"{location} has no {attribute!r}", hint=known if functions else "define `def build(): ...`")
    if isinstance(value, type) and issubclass(value, nn.Module) and not is_lightning_class(value):
        raise bare_module(f"{attribute} is an nn.Module class")
    if not callable(value) or isinstance(value, nn.Module):
        raise WorkloadError(
            f"{attribute} in {location} is not a function but an object ({type(value).__name__})",
            hint=f"make it a factory, so that every trial starts afresh: `def {attribute.rpartition('.')[2]}(): return ...`",
        )
    return value  # type: ignore[no-any-return]


def _check_arguments(signature: inspect.Signature, params: Mapping[str, Any], name: str) -> None:
    declared = signature.parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in declared.values())
    named = [p.name for p in declared.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for key in params:
        if key not in named and not takes_any:
            hint = did_you_mean(key, named) if named else f"{name} takes no arguments"
            raise UsageError(f"{name} has no argument {key!r}", hint=hint)
    for parameter in declared.values():
        required = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if required and parameter.name not in (*params, "seed", "device"):
            raise UsageError(
                f"{name} requires the argument {parameter.name!r}",
                hint=f"give it with --param {parameter.name}=VALUE, or a default in the file",
            )


def _converted(value: Any, key: str, signature: inspect.Signature, name: str) -> Any:
    """A `--param` text as the type its argument shows, else as the Python literal it spells. Raises UsageError."""
    kind, is_annotated = _kind(signature.parameters.get(key))
    if not isinstance(value, str) or kind is str:
        return value
    if value.lower() == "none":
        return None
    if kind is None:
        return _literal(value)
    converted: Any
    if kind is bool:
        wanted, converted = "true or false", _TRUTHS.get(value.lower())
    else:
        must_be_whole = kind is int and is_annotated
        wanted, converted = "a whole number" if must_be_whole else "a number", _number(value, kind, must_be_whole)
    if converted is None:
        raise UsageError(f"{name} needs {wanted} for {key!r}, not {value!r}", hint=f"write it as --param {key}=VALUE")
    return converted


_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_KINDS: dict[str, type] = {"str": str, "bool": bool, "int": int, "float": float}


def _kind(parameter: inspect.Parameter | None) -> tuple[type | None, bool]:
    """The type that an argument's annotation names, optional or not, else that of its default; and which of them it is."""
    if parameter is None:
        return None, False
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    names = set(re.findall(r"\w+", text)) - {"None", "Optional", "Union", "typing"}
    if len(names) == 1 and names <= _KINDS.keys():
        return _KINDS[names.pop()], True
    return _KINDS.get(type(parameter.default).__name__), False


def _number(text: str, kind: type, must_be_whole: bool) -> int | float | None:
    if kind is int:
        with suppress(ValueError):
            return int(text, 0)
    try:
        number = float(text)
    except ValueError:
        return None
    if kind is int and number.is_integer():
        return int(number)
    return None if must_be_whole else number


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
