"""Options that are no settings but shared by several commands, and how options are read."""

import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Annotated, Any, cast, get_args

import typer

from lrtool.cli.console import Color
from lrtool.config import Settings
from lrtool.errors import UsageError, did_you_mean
from lrtool.examples import DEFAULT_TARGET

OUTPUT = "Output"
VARIABLES = {"LRTOOL_TARGET"}
"""Every environment variable that sets an option, filled as options are declared."""


def option(
    *names: str, help: str, panel: str, default: str | None = None, has_variable: bool = True, **extra: Any
) -> Any:
    """An option that `LRTOOL_NAME` sets too, unless it has no variable, and whose help shows the `default`."""
    text = help if default is None else f"{help} Default: {default}."
    if has_variable:
        extra["envvar"] = f"LRTOOL_{names[0].removeprefix('--').replace('-', '_').upper()}"
        VARIABLES.add(extra["envvar"])
    return typer.Option(*names, help=text, rich_help_panel=panel, show_envvar=False, show_default=False, **extra)


Target = Annotated[
    str | None,
    typer.Argument(
        help="model.py, model.py:build, package.module:build, or a bundled workload (digits, digits-cnn, "
        "char-transformer, leaky, variable-length). Without it: the one in the settings file, else digits.",
        show_default=False,
        envvar="LRTOOL_TARGET",
        show_envvar=False,
    ),
]
RunName = Annotated[str, typer.Argument(help="A run directory, its number below --out, or last.", show_default=True)]
ConfigFile = Annotated[
    str | None,
    option(
        "--config",
        help="A TOML settings file, instead of the nearest lrtool.toml or \\[tool.lrtool].",
        panel="Target",
        metavar="FILE",
    ),
]
Json = Annotated[bool, option("--json", help="Print one JSON document on stdout, and nothing else.", panel=OUTPUT)]
Check = Annotated[
    bool,
    option(
        "--check",
        help="Hold the result against the table \\[tool.lrtool.budget]; exit code 1 if it fails.",
        panel=OUTPUT,
    ),
]
Force = Annotated[bool, option("--force", help="Overwrite the file if it is there.", panel=OUTPUT, has_variable=False)]
Quiet = Annotated[bool, option("--quiet", "-q", help="No narration and no progress.", panel=OUTPUT)]
Verbose = Annotated[
    int,
    option(
        "--verbose", "-v", help="Show the resolved settings; -vv shows whole tracebacks too.", panel=OUTPUT, count=True
    ),
]
ColorChoice = Annotated[
    str, option("--color", help="auto, always or never.", panel=OUTPUT, default="auto", metavar="WHEN")
]


def target_of(settings: Settings) -> str:
    """The target that was named, on the command line or in a settings file, else the bundled one."""
    return DEFAULT_TARGET if settings.target is None else settings.target


def color(text: str) -> Color:
    """The value of --color. Raises UsageError."""
    return cast(Color, one_of(text, get_args(Color), name="--color"))


def one_of(text: str, values: Sequence[str], *, name: str) -> str:
    """The value of an option that has to be one of `values`. Raises UsageError."""
    if text not in values:
        raise UsageError(f"{name} {text!r} is not one of its values", hint=did_you_mean(text, values))
    return text


def axis(text: str, kind: Callable[[str], object]) -> list[object]:
    """The values of "2500,3000", or of "[0.1,0.01],[0.2,0.02]" where they are numbers with a point; what is no number stays
    text, for the settings' own check to name it.
    """
    if kind is float and "[" in text:
        return [_list_or_number(value.strip()) for value in _BRACKETED.findall(text)]
    return [number_or_text(value.strip(), kind) for value in text.split(",")]


_BRACKETED = re.compile(r"\s*\[[^\[\]]*\]?\s*|[^,\[]+")


def _list_or_number(text: str) -> object:
    if not (text.startswith("[") and text.endswith("]")):
        return number_or_text(text, float)
    return [number_or_text(value.strip(), float) for value in text[1:-1].split(",")]


def number_or_text(text: str, kind: Callable[[str], object]) -> object:
    """The number that `text` is; what is none stays text, for the settings' own check to name it."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text


def with_value(arguments: Sequence[str], name: str, *, values: Sequence[str]) -> list[str]:
    """The arguments, with the first of `values` put in after each option `name` that stands without one of them."""
    completed = []
    for argument, following in zip_longest(arguments, arguments[1:]):
        completed.append(argument)
        if argument == name and following not in values:
            completed.append(values[0])
    return completed


def parse_params(pairs: list[str] | None) -> dict[str, str]:
    """NAME=VALUE pairs as a dict. Raises UsageError."""
    params = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--param {pair!r} is not NAME=VALUE", hint="for example --param batch_size=128")
        params[name] = value
    return params
