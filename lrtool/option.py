"""What a field of a settings class says of itself on the command line: the one place where an option is written down."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, Field, dataclass, fields
from typing import Annotated, Any, get_args, get_origin

from annotated_types import Ge, Le

STRICT: Any = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""How pydantic checks a settings class."""
NumGpus = Annotated[int, Ge(1), Le(64)]
Positive = Annotated[int, Ge(1), Le(1_000_000)]  # more would fill the memory, and is a typing mistake


@dataclass(frozen=True, slots=True)
class Option:
    """A field as an option: `seed: Annotated[int, Ge(0), Option("Seed of the first run.", panel=TARGET)] = 0` is --seed.

    The help ends with the field's default, where it has one. Several values are separated by commas, or the option
    `is_repeatable`, once for each value, taken as it is written. With `has_variable`, `LRTOOL_SEED` sets it too.
    """

    help: str
    _: KW_ONLY
    panel: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    is_repeatable: bool = False
    has_variable: bool = True


def options_of(settings: type) -> Iterator[tuple[Field[Any], Option]]:
    """The fields of a settings class that are options."""
    for field in fields(settings):
        for part in get_args(field.type) if get_origin(field.type) is Annotated else ():
            if isinstance(part, Option):
                yield field, part


def shown_default(field: Field[Any]) -> str | None:
    """A field's default as it is written on the command line; None where it leaves things as they are."""
    value = field.default
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float | tuple):
        return None
    return (",".join(map(str, value)) if isinstance(value, tuple) else str(value)) or None
