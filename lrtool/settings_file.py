"""The TOML files that settings are read from (`lrtool.toml`, `[tool.lrtool]`, `--config`), and what overrides them.

Order of precedence: command line, `LRTOOL_*` environment variables, settings file, default. pydantic does the checking.
"""

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from lrtool.config import TABLES, Settings
from lrtool.errors import UsageError, did_you_mean
from lrtool.results.stored.checked_json import MAX_INTEGER
from lrtool.results.stored.texts import may_be_spelt, spell, unspell, with_texts
from lrtool.small_file import MAX_SETTINGS_BYTES, read_small, text_of
from lrtool.units import meant_by

MAX_DEPTH = 4
_SIZES = {"capacity", "trial_memory"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsFile:
    """A settings file that was read and checked: its values (keys with underscores) and where they stand."""

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def find_settings_file(start: Path) -> SettingsFile:
    """The nearest `lrtool.toml`, or `pyproject.toml` with `[tool.lrtool]`, from the folder `start` up; else an empty one."""
    for folder in (start, *start.parents):
        if (folder / "lrtool.toml").is_file():
            return read_settings_file(folder / "lrtool.toml")
        if (folder / "pyproject.toml").is_file() and _mentions_lrtool(folder / "pyproject.toml"):
            return read_settings_file(folder / "pyproject.toml")
    return SettingsFile()


def read_settings_file(path: Path) -> SettingsFile:
    """Read and check one file. Raises UsageError with file, key and nearest spelling."""
    document: Any = _read_toml(path)
    if path.name == "pyproject.toml":
        document = _tool_table(document)
    if not isinstance(document, dict):
        raise UsageError(f"{path}: tool.lrtool is no table", hint="write [tool.lrtool], and the settings below it")
    _refuse_what_no_setting_is(document, source=path)
    values = _underscored(document)
    _validate(values, source=str(path))
    target = values.get("target")
    if target and target.partition(":")[0].endswith(".py"):
        values["target"] = str(path.parent / target)
    baseline = values.get("budget", {}).get("baseline")
    if baseline and baseline.endswith(".json"):
        values["budget"]["baseline"] = str(path.parent / baseline)
    return SettingsFile(path=path, values=values)


def resolve(file: SettingsFile, *, options: Mapping[str, Any], table: str | None) -> Settings:
    """Settings from `file`, overridden by those of `options` (flat, as given on the command line) that are not None: those of
    the command's `table`, if it has one, and those that commands share.

    Raises UsageError that names the option, or the key of the file, that is wrong.
    """
    own = set() if table is None else {f.name for f in fields(TABLES[table])}
    given = {name: value for name, value in options.items() if value is not None}
    merged = dict(file.values)
    merged |= {name: value for name, value in given.items() if name not in own}
    merged["params"] = {**file.values.get("params", {}), **given.get("params", {})}
    if table is not None:
        merged[table] = {**file.values.get(table, {}), **{n: v for n, v in given.items() if n in own}}
    return _validate(merged, source=str(file.path), options=given)


def search_start(target: str | None) -> Path:
    """Where the search for a settings file begins: the target's folder, if it is a file."""
    location = Path((target or "").partition(":")[0])
    return (location.parent if location.suffix == ".py" else Path()).resolve()


def check_environment(known: set[str]) -> None:
    """Raise UsageError for an `LRTOOL_*` variable that no option reads: a typing mistake there would go unseen."""
    for name in sorted(os.environ):
        if name.startswith("LRTOOL_") and name not in known:
            raise UsageError(f"unknown environment variable {name}", hint=did_you_mean(name, sorted(known)))


def _mentions_lrtool(path: Path) -> bool:
    """Whether a project's file has settings of lrtool; one that cannot be read is another tool's concern."""
    try:
        return _tool_table(_read_toml(path)) is not None
    except UsageError:
        return False


def _tool_table(document: Mapping[str, Any]) -> Any:
    """What stands under `tool.lrtool`; None where nothing does."""
    tool = document.get("tool")
    return tool.get("lrtool") if isinstance(tool, dict) else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = text_of(read_small(path, max_bytes=MAX_SETTINGS_BYTES), source=path)
        return tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(f"settings file {path} does not exist", hint="check the path given to --config") from None
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits, too
        raise UsageError(f"{path} is not valid TOML: {error}", hint="strings need quotes, tables [brackets]") from None


def _refuse_what_no_setting_is(table: Mapping[str, Any], *, source: Path) -> None:
    """Raise UsageError for what TOML has and no setting can be: dates, tables within tables within tables, huge numbers."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), table)]
    while waiting:
        place, value = waiting.pop()
        name = f"{source}: {'.'.join(place)}"
        if len(place) > MAX_DEPTH:
            raise UsageError(f"{source}: {'.'.join(place[:3])} is nested too deeply", hint="settings stand in [tables]")
        if isinstance(value, datetime | date | time):
            raise UsageError(f"{name}: {value} is a date or a time, which no setting is", hint="text needs quotes")
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise UsageError(f"{name}: {str(value)[:20]}... is out of range", hint="at most 63 bits")
        if isinstance(value, dict):
            waiting += [((*place, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*place, str(index)), inner) for index, inner in enumerate(value)]


def _underscored(table: Mapping[str, Any]) -> dict[str, Any]:
    """Keys may be spelt as the options are (`num-steps`); the user's own `params` are left alone."""
    return {
        key.replace("-", "_"): _underscored(value) if isinstance(value, Mapping) and key != "params" else value
        for key, value in table.items()
    }


def _validate(values: Mapping[str, Any], *, source: str, options: Mapping[str, Any] | None = None) -> Settings:
    from pydantic import TypeAdapter, ValidationError

    try:  # as JSON, because strict checking of Python objects would want dataclasses where TOML has tables
        text = json.dumps(values, default=str)
        if not may_be_spelt(text):
            return TypeAdapter(Settings).validate_json(text)
        text = json.dumps(with_texts(values, spell), default=str)
        return with_texts(TypeAdapter(Settings).validate_json(text), unspell)
    except ValidationError as error:
        raise _settings_error(error.errors()[0], source=source, options=options or {}) from None


def _settings_error(problem: Any, *, source: str, options: Mapping[str, Any]) -> UsageError:
    location = [str(part) for part in problem["loc"]]
    if not location:  # not even JSON could hold them
        return UsageError(f"{source}: {problem['msg']}", hint="see `lrtool --help`")
    in_table = len(location) > 1 and location[0] in TABLES
    location = location[:2] if in_table else location  # what follows is the branch of a union, or a place in a tuple
    key = location[1] if in_table else location[0]
    place = f"--{key.replace('_', '-')}" if key in options else f"{source}: {'.'.join(location).replace('_', '-')}"
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = fields(TABLES[location[0]] if in_table else Settings)
        names = [f.name.replace("_", "-") for f in known]
        return UsageError(f"{place}: no such setting", hint=did_you_mean(key.replace("_", "-"), names))
    if problem["type"] == "value_error":
        message, hint = problem["ctx"]["error"].args
        return UsageError(message, hint=hint)
    message = problem["msg"].removeprefix("Input ")
    is_size = key in _SIZES and isinstance(problem["input"], int | float)
    hint = _size_hint(key, problem["input"]) if is_size else _default_hint(location)
    return UsageError(f"{place}: {_shown(problem['input'])} {message}", hint=hint)


def _size_hint(key: str, number: float) -> str:
    likely = (*meant_by(str(number)), "24GiB")[0]
    size = f'{key.replace("_", "-")} = "{likely.partition(" ")[0]}"'
    return f'a size stands in quotes, with its unit: {size}; a card by its name, such as "rtx4090"'


def _shown(value: object) -> str:
    return "nan" if isinstance(value, float) and math.isnan(value) else repr(with_texts(value, unspell))


def _default_hint(location: list[str]) -> str:
    holder: Any = Settings()
    for part in location:
        if isinstance(holder, tuple):  # the default is a whole list
            break
        holder = getattr(holder, part, None) if not isinstance(holder, dict) else None
    shown = ",".join(map(str, holder)) if isinstance(holder, tuple) else repr(holder)
    return "see `lrtool --help`" if holder in (None, {}) or not shown else f"the default is {shown}"
