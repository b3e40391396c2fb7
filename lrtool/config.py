"""Settings: their defaults and limits, and the TOML files they are read from (`lrtool.toml`, `[tool.lrtool]`, `--config`).

Order of precedence: command line, `LRTOOL_*` environment variables, settings file, default. pydantic does the checking.
"""

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from lrtool.errors import UsageError, did_you_mean
from lrtool.gate.limits import Kind, Limit, limit_of

Confirm = Literal["off", "cyclic", "constant", "super-convergence"]
_STRICT: Any = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
Positive = Annotated[int, Ge(1), Le(1_000_000)]  # more would fill the memory, and is a typing mistake
OtherRules = Literal["all", "fastai", "lightning", "torch-lr-finder", "ignite"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeTestSettings:
    """The ramp of `lrtool range-test`, table `[range-test]` of a settings file."""

    __pydantic_config__ = _STRICT

    start_lr: Annotated[float, Gt(0)] = 1e-7
    end_lr: Annotated[float, Gt(0)] = 10.0
    num_steps: Annotated[int, Ge(3), Le(1_000_000)] | Literal["auto"] = "auto"
    mode: Literal["exp", "linear"] = "exp"
    repeats: Annotated[int, Ge(1)] = 1
    timeout: Annotated[float, Gt(0)] = 600.0
    confirm: Confirm = "off"
    confirm_loss: Literal["train", "val"] = "train"
    per_group: bool = False
    batch_size: tuple[Positive, ...] = ()
    rules: tuple[OtherRules, ...] = ()

    def __post_init__(self) -> None:
        if not self.start_lr < self.end_lr:
            message = f"start-lr {self.start_lr:g} is not below end-lr {self.end_lr:g}"
            raise ValueError(message, "the ramp goes from a small LR to a large one")


RecorderChoice = Literal["auto", "cuda", "predicted", "cpu"]
Schedule = Literal["cyclic", "onecycle", "constant"]
Mode = Literal["triangular", "triangular2", "exp_range"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MemSweepSettings:
    """What `lrtool mem-sweep` varies and how its trials run, table `[mem-sweep]` of a settings file.

    Of each tuple every value is tried, with every value of the others; an empty one leaves things as they are.
    """

    __pydantic_config__ = _STRICT

    step_sizes: Annotated[tuple[Positive, ...], MinLen(1)] = (2500, 3000, 3500)
    step_size_down: tuple[Positive, ...] = ()
    schedule: Annotated[tuple[Schedule, ...], MinLen(1)] = ("cyclic",)
    mode: Annotated[tuple[Mode, ...], MinLen(1)] = ("triangular",)
    gamma: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (1.0,)
    scale_mode: Annotated[tuple[Literal["cycle", "iterations"], ...], MinLen(1)] = ("cycle",)
    settings: Annotated[tuple[str, ...], MinLen(1)] = ("",)
    precision: tuple[Literal["fp32", "bf16", "fp16"], ...] = ()
    batch_size: tuple[Positive, ...] = ()
    world_size: tuple[Positive, ...] = ()
    shard: Annotated[tuple[Literal["none", "fsdp2"], ...], MinLen(1)] = ("none",)
    cycles: Positive = 1
    steps: Positive | None = None
    repeats: Positive = 1
    order: Literal["shuffled", "given"] = "shuffled"
    base_lr: Annotated[float, Gt(0)] | None = None
    max_lr: Annotated[float, Gt(0)] | None = None
    recorder: RecorderChoice = "auto"
    gpu: str = "h100"
    capacity: str | None = None
    history: tuple[Positive, ...] = ()
    jobs: Positive = 1
    timeout: Annotated[float, Gt(0)] | None = None
    executor: Literal["subprocess", "ray"] = "subprocess"
    ray_address: str | None = None
    trial_cpus: Annotated[float, Gt(0)] = 1.0
    trial_memory: str | None = None

    def __post_init__(self) -> None:
        if (self.base_lr is None) != (self.max_lr is None):
            given, missing = ("base-lr", "max-lr") if self.max_lr is None else ("max-lr", "base-lr")
            raise ValueError(f"{given} is given, and {missing} is not", "give both, or neither")
        if self.shard != ("none",) and not self.world_size:
            raise ValueError(
                "shard is given without world-size", "say over how many ranks, for example --world-size 1,8,64"
            )
        if self.base_lr is not None and self.max_lr is not None and self.base_lr > self.max_lr:
            message = f"base-lr {self.base_lr:g} is above max-lr {self.max_lr:g}"
            raise ValueError(message, "a cycle goes from base-lr up to max-lr and back")


Bounds = dict[str, str | int | float]


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetSettings:
    """What a run must keep to, table `[budget]` of a settings file: metrics with what they may be at most, at least, and
    by how much they may exceed the baseline, a file or a run.
    """

    __pydantic_config__ = _STRICT

    max: Bounds = field(default_factory=dict)
    min: Bounds = field(default_factory=dict)
    max_increase: Bounds = field(default_factory=dict)
    baseline: str | None = None
    allow_different: bool = False

    def __post_init__(self) -> None:
        try:
            assert self.limits is not None
        except UsageError as error:
            raise ValueError(f"budget: {error.message}", error.hint) from None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """All limits, in the order in which they are shown."""
        kinds: tuple[tuple[Kind, Bounds], ...] = (("max", self.max), ("min", self.min), ("increase", self.max_increase))
        return tuple(limit_of(name, value, kind) for kind, bounds in kinds for name, value in bounds.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnoseSettings:
    """What `lrtool diagnose` judges, table `[diagnose]` of a settings file; `settings` are the allocator's.

    With `cures`, those named by `only` are tried, all where it is empty, over `cure_steps` steps each; `checkpoint` names the
    modules to checkpoint, by name or pattern.
    """

    __pydantic_config__ = _STRICT

    steps: Positive = 1000
    cures: bool = False
    max_batch: bool = False
    only: tuple[str, ...] = ()
    checkpoint: tuple[str, ...] = ()
    cure_steps: Annotated[int, Ge(2)] = 5
    settings: str = ""
    recorder: RecorderChoice = "auto"
    gpu: str = "h100"
    capacity: str | None = None
    timeout: Annotated[float, Gt(0)] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The top level of a settings file: what every measuring command shares, and a table for each command."""

    __pydantic_config__ = _STRICT

    target: str | None = None
    params: dict[str, str | int | float | bool] = field(default_factory=dict)
    device: str = "auto"
    seed: Annotated[int, Ge(0)] = 0
    out: str = "runs"
    range_test: RangeTestSettings = field(default_factory=RangeTestSettings)
    mem_sweep: MemSweepSettings = field(default_factory=MemSweepSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    diagnose: DiagnoseSettings = field(default_factory=DiagnoseSettings)


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
        if (folder / "pyproject.toml").is_file() and "lrtool" in _read_toml(folder / "pyproject.toml").get("tool", {}):
            return read_settings_file(folder / "pyproject.toml")
    return SettingsFile()


def read_settings_file(path: Path) -> SettingsFile:
    """Read and check one file. Raises UsageError with file, key and nearest spelling."""
    document = _read_toml(path)
    if path.name == "pyproject.toml":
        document = document.get("tool", {}).get("lrtool", {})
    values = _underscored(document)
    _validate(values, source=str(path))
    target = values.get("target")
    if target and target.partition(":")[0].endswith(".py"):
        values["target"] = str(path.parent / target)
    baseline = values.get("budget", {}).get("baseline")
    if baseline and baseline.endswith(".json"):
        values["budget"]["baseline"] = str(path.parent / baseline)
    return SettingsFile(path=path, values=values)


def resolve(file: SettingsFile, *, options: Mapping[str, Any], command: str) -> Settings:
    """Settings from `file`, overridden by those of `options` (flat, as given on the command line) that are not None.

    Raises UsageError that names the option, or the key of the file, that is wrong.
    """
    own = {f.name for f in fields(_COMMANDS[command])}
    given = {name: value for name, value in options.items() if value is not None}
    merged = dict(file.values)
    merged |= {name: value for name, value in given.items() if name not in own}
    merged["params"] = {**file.values.get("params", {}), **given.get("params", {})}
    merged[command] = {**file.values.get(command, {}), **{n: v for n, v in given.items() if n in own}}
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


_COMMANDS: dict[str, type] = {
    "range_test": RangeTestSettings,
    "mem_sweep": MemSweepSettings,
    "diagnose": DiagnoseSettings,
    "budget": BudgetSettings,
}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"settings file {path} does not exist", hint="check the path given to --config") from None
    except OSError as error:
        raise UsageError(f"settings file {path} cannot be read: {error.strerror}", hint="give a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", hint="strings need quotes, tables [brackets]") from None


def _underscored(table: Mapping[str, Any]) -> dict[str, Any]:
    """Keys may be spelt as the options are (`num-steps`); the user's own `params` are left alone."""
    return {
        key.replace("-", "_"): _underscored(value) if isinstance(value, Mapping) and key != "params" else value
        for key, value in table.items()
    }


def _validate(values: Mapping[str, Any], *, source: str, options: Mapping[str, Any] | None = None) -> Settings:
    from pydantic import TypeAdapter, ValidationError

    try:  # as JSON, because strict checking of Python objects would want dataclasses where TOML has tables
        return TypeAdapter(Settings).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise _settings_error(error.errors()[0], source=source, options=options or {}) from None


def _settings_error(problem: Any, *, source: str, options: Mapping[str, Any]) -> UsageError:
    location = [str(part) for part in problem["loc"]]
    in_table = len(location) > 1 and location[0] in _COMMANDS
    location = location[:2] if in_table else location  # what follows is the branch of a union, or a place in a tuple
    key = location[1] if in_table else location[0]
    place = f"--{key.replace('_', '-')}" if key in options else f"{source}: {'.'.join(location).replace('_', '-')}"
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        table = _COMMANDS[location[0]] if in_table else Settings
        names = [f.name.replace("_", "-") for f in fields(table)]
        return UsageError(f"{place}: no such setting", hint=did_you_mean(key.replace("_", "-"), names))
    if problem["type"] == "value_error":
        message, hint = problem["ctx"]["error"].args
        return UsageError(message, hint=hint)
    message = problem["msg"].removeprefix("Input ")
    return UsageError(f"{place}: {_shown(problem['input'])} {message}", hint=_default_hint(location))


def _shown(value: object) -> str:
    return "nan" if isinstance(value, float) and math.isnan(value) else repr(value)


def _default_hint(location: list[str]) -> str:
    holder: Any = Settings()
    for part in location:
        if isinstance(holder, tuple):  # the default is a whole list
            break
        holder = getattr(holder, part, None) if not isinstance(holder, dict) else None
    shown = ",".join(map(str, holder)) if isinstance(holder, tuple) else repr(holder)
    return "see `lrtool --help`" if holder in (None, {}) or not shown else f"the default is {shown}"
