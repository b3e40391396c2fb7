"""Options that several commands share: declared once, so that they read and behave the same everywhere.

Every option is None unless given, on the command line or as its `LRTOOL_*` variable; `config.resolve` fills in the rest.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Annotated, Any, cast, get_args

import typer

from lrtool.cli.console import Color
from lrtool.config import Settings
from lrtool.errors import UsageError, did_you_mean
from lrtool.examples import DEFAULT_TARGET

TARGET = "Target"
OUTPUT = "Output"
VARIABLES = {"LRTOOL_TARGET"}
"""Every environment variable that sets an option, filled as options are declared."""


def option(*names: str, help: str, panel: str, default: object = None, **extra: Any) -> Any:
    """An option that `LRTOOL_NAME` sets too, and whose help shows the default that the settings have."""
    variable = f"LRTOOL_{names[0].removeprefix('--').replace('-', '_').upper()}"
    VARIABLES.add(variable)
    text = help if default is None else f"{help} Default: {default}."
    return typer.Option(
        *names, help=text, rich_help_panel=panel, envvar=variable, show_envvar=False, show_default=False, **extra
    )


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
Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="An argument of build(): NAME=VALUE; repeatable.", rich_help_panel=TARGET),
]
Device = Annotated[str | None, option("--device", help="auto, cpu, cuda, cuda:1 or mps.", panel=TARGET, default="auto")]
Seed = Annotated[int | None, option("--seed", help="Seed of the first run.", panel=TARGET, default=0)]
ConfigFile = Annotated[
    str | None,
    option(
        "--config",
        help="A TOML settings file, instead of the nearest lrtool.toml or \\[tool.lrtool].",
        panel=TARGET,
        metavar="FILE",
    ),
]
Out = Annotated[
    str | None, option("--out", help="Folder of the numbered run directories.", panel=OUTPUT, default="runs")
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
    if text not in get_args(Color):
        raise UsageError(f"--color {text!r} is not one of its values", hint=did_you_mean(text, get_args(Color)))
    return cast(Color, text)


def axis(text: str | None, kind: Callable[[str], object] = str) -> list[object] | None:
    """The values of "2500,3000"; what is no number stays text, for the settings' own check to name it."""
    if text is None:
        return None
    return [number_or_text(value.strip(), kind) for value in text.split(",")]


def number_or_text(text: str, kind: Callable[[str], object]) -> object:
    """The number that `text` is; what is none stays text, for the settings' own check to name it."""
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
