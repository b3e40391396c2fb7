"""Texts inside a result: the one place where they are changed, to be stored, read back, or shown.

A name on a Unix disk need not be UTF-8: Python holds what is none as lone surrogates, which JSON knows no text for. They are
stored as they are written in Python, `\\udcff`, and a name that holds such a spelling itself gets its backslash spelt too.
"""

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from lrtool.units import one_line

T = TypeVar("T")
_SPELLING = r"u(?:d[89a-f][0-9a-f]{2}|005c)"
_TO_SPELL = re.compile(rf"[\ud800-\udfff]|\\(?={_SPELLING})")
_SPELT = re.compile(rf"\\{_SPELLING}")


def shown(value: T) -> T:
    """The same result with each of its texts in one line, and nothing in them that could steer what shows them."""
    return with_texts(value, one_line)


def spell(text: str) -> str:
    """Text that JSON can hold; `unspell` undoes it."""
    return _TO_SPELL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def unspell(text: str) -> str:
    return _SPELT.sub(lambda found: chr(int(found[0][2:], 16)), text)


def may_be_spelt(json_text: str | bytes) -> bool:
    """Whether a JSON document may hold anything that `spell` or `unspell` would change; most hold nothing."""
    return b"\\u" in json_text if isinstance(json_text, bytes) else "\\u" in json_text


def with_texts(value: T, change: Callable[[str], str]) -> T:
    """A result, or JSON's plain values, with every text in it changed, also names in dictionaries."""
    new: Any = value
    if isinstance(value, str):
        new = change(value) if type(value) is str else value  # an enumeration's text stays
    elif isinstance(value, dict):
        new = {with_texts(key, change): with_texts(each, change) for key, each in value.items()}
    elif isinstance(value, list | tuple):
        if value and not isinstance(value[0], int | float):  # a column of figures, and there are long ones
            new = type(value)(with_texts(each, change) for each in value)
    elif is_dataclass(value) and not isinstance(value, type):
        old = {each.name: getattr(value, each.name) for each in fields(value)}
        changed = {name: with_texts(each, change) for name, each in old.items()}
        if any(changed[name] is not each for name, each in old.items()):
            new = replace(value, **changed)
    return new  # type: ignore[no-any-return]
