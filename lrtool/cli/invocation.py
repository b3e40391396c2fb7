"""How a command hears what it was asked: its options are made of its table of the settings, next to those that all have."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lrtool.cli import options
from lrtool.cli.console import Terminal, open_terminal
from lrtool.config import KINDS, TABLES, ExecutorSettings, Settings
from lrtool.option import Option, options_of, shown_default
from lrtool.settings_file import SettingsFile, find_settings_file, read_settings_file, resolve, search_start
from lrtool.units import decimal_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """What a command was asked: where it speaks, and the settings `given` on the command line or in the environment."""

    terminal: Terminal
    as_json: bool
    file: SettingsFile
    table: str | None
    given: dict[str, Any]

    def settings(self, **instead: Any) -> Settings:
        """All settings: those that were given, or `instead` of them, over those of the file. Raises UsageError."""
        settings = resolve(self.file, table=self.table, options={**self.given, **instead})
        for note in dict.fromkeys(_notes(settings, self.table)):
            self.terminal.note(note)
        return settings


Command = Callable[..., None]


def reads_settings(
    table: str | None = None, *, target: Any = None, with_config: bool = False
) -> Callable[[Command], Command]:
    """Make a command of a function that gets an Invocation first, and then its own arguments and options.

    Before the function's keyword-only options stand those of the settings' `table`; a command with a `target` has those that
    tell how to load it, too. What all commands share comes last.
    """

    def decorate(run: Command) -> Command:
        own = list(signature(run).parameters.values())[1:]
        first = [each for each in own if each.kind is not Parameter.KEYWORD_ONLY]
        last = [each for each in own if each.kind is Parameter.KEYWORD_ONLY]
        of_table = [] if table is None else _derived(TABLES[table])
        shared = {each.name: each for each in _derived(Settings)}
        out = shared.pop("out")
        of_target = [] if target is None else [_parameter("target", target), *shared.values(), _CONFIG]
        config = [_CONFIG] if with_config else []
        parameters = [*of_target, *first, *of_table, *last, *config, out, *_OUTPUT]

        def invoked(**values: Any) -> None:
            run(_invocation(table, values), **{each.name: values[each.name] for each in own})

        return _with_signature(invoked, parameters, doc=run.__doc__)

    return decorate


def _with_signature(invoked: Command, parameters: list[Parameter], *, doc: str | None) -> Command:
    keywords = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters]
    invoked.__signature__ = Signature(keywords)  # type: ignore[attr-defined]
    invoked.__annotations__ = {each.name: each.annotation for each in keywords}
    invoked.__doc__ = doc
    return invoked


def _parameter(name: str, annotation: Any, default: object = None) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


_CONFIG = _parameter("config", options.ConfigFile)
_OUTPUT = [
    _parameter("as_json", options.Json, False),
    _parameter("quiet", options.Quiet, False),
    _parameter("verbose", options.Verbose, 0),
    _parameter("color", options.ColorChoice, "auto"),
]


def _invocation(table: str | None, values: Mapping[str, Any]) -> Invocation:
    terminal = open_terminal(color=options.color(values["color"]), quiet=values["quiet"], verbose=values["verbose"])
    config, target = values.get("config"), values.get("target")
    file = read_settings_file(Path(config)) if config else find_settings_file(search_start(target))
    given = {} if target is None else {"target": target}
    for each, option in (*options_of(Settings), *(options_of(TABLES[table]) if table else ())):
        value = values.get(_name(each, option))
        if value not in (None, []):
            given[each.name] = _setting(each, option, value)
    return Invocation(terminal=terminal, as_json=values["as_json"], file=file, table=table, given=given)


def _derived(settings: type) -> list[Parameter]:
    """A parameter for each field of a settings class that is an option; None where it is not given.

    What several commands have in common comes after what is a command's own.
    """
    inherited = {each.name for each in fields(ExecutorSettings)}
    found = sorted(options_of(settings), key=lambda pair: pair[0].name in inherited)
    return [_parameter(_name(each, option), _annotation(each, option)) for each, option in found]


def _flags(field: Field[Any], option: Option) -> tuple[str, ...]:
    return option.flags or (f"--{field.name.replace('_', '-')}",)


def _name(field: Field[Any], option: Option) -> str:
    return _flags(field, option)[0].removeprefix("--").replace("-", "_")


def _annotation(field: Field[Any], option: Option) -> Any:
    declared = options.option(
        *_flags(field, option),
        help=option.help,
        panel=option.panel,
        default=shown_default(field),
        has_variable=option.has_variable and not option.is_repeatable,
        metavar=option.metavar,
    )
    return Annotated[_read_as(field, option) | None, declared]


def _read_as(field: Field[Any], option: Option) -> Any:
    """The type that an option is read as: text where there may be several values, or a word instead of a number."""
    kind, *others = _kinds(field.type)
    if option.is_repeatable:
        return list[str]
    return str if others else kind


def _notes(settings: Settings, table: str | None) -> Iterator[str]:
    """What to know of sizes that are written in powers of ten, those of a command's own table."""
    from lrtool.memory.gpus import capacity_note

    own = None if table is None else getattr(settings, table)
    places = getattr(own, "capacity", None) or ()
    yield from filter(None, map(capacity_note, [places] if isinstance(places, str) else places))
    limits = (str(each) for name in KINDS for each in getattr(own, name, {}).values())
    for told in filter(None, map(decimal_size, (getattr(own, "trial_memory", None) or "", *limits))):
        yield f"{told}; GiB are powers of two"


def _setting(field: Field[Any], option: Option, value: Any) -> Any:
    """The value of a setting from what was read for its option."""
    if field.name == "params":
        return options.parse_params(value)
    if option.is_repeatable or not isinstance(value, str):
        return value
    kind, *others = _kinds(field.type)
    return options.axis(value, others[0]) if kind is tuple else options.number_or_text(value, kind)


def _kinds(hint: Any) -> list[type]:
    """The classes that a type stands for, without None; after tuple that of its elements."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kinds(parts[0])
    if origin is tuple:
        return [tuple, *_kinds(parts[0])]
    if origin is Literal:
        return [str]
    if origin in (Union, UnionType):
        return [kind for part in parts if part is not NoneType for kind in _kinds(part)]
    return [origin or hint]
