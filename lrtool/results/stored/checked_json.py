"""JSON from a file that somebody else may have written: every field checked, and no number that no figure can be."""

import codecs
import json
import math
from typing import Any, TypeVar

from lrtool.results.stored.texts import may_be_spelt, spell, unspell, with_texts

MAX_INTEGER = 2**63 - 1
MAX_FLOAT = 1e150
"""The square of a figure is still one."""
T = TypeVar("T")
_ADAPTERS: dict[Any, Any] = {}


def parse_json(text: str | bytes) -> Any:
    """The plain values of a document. Raises ValueError, also for a number that is not finite or has over 63 bits."""
    try:
        return json.loads(_without_mark(text), parse_int=_bounded, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Plain values as a document. Raises ValueError for a figure that is not finite: missing is None."""
    text = json.dumps(value, indent=indent, allow_nan=False)
    return json.dumps(with_texts(value, spell), indent=indent, allow_nan=False) if may_be_spelt(text) else text


def validated_json(text: str | bytes, kind: type[T]) -> T:
    """A document as a dataclass. Raises ValueError naming the first field that is wrong.

    Plain values come as a document, too (`json_text`): of JSON alone pydantic can be strict and still make tuples.
    """
    from pydantic import ValidationError

    try:
        found: T = _adapter(kind).validate_json(_without_mark(text), strict=True)
    except ValidationError as error:
        raise _first_of(error) from None
    parse_json(text)  # for its numbers
    return with_texts(found, unspell) if may_be_spelt(text) else found


def _without_mark(text: str | bytes) -> str | bytes:
    """Without the byte-order mark that some editors write."""
    return text.removeprefix(codecs.BOM_UTF8) if isinstance(text, bytes) else text.removeprefix("\ufeff")


def _adapter(kind: Any) -> Any:
    """pydantic's view of a class, made once: that takes longer than all that is done with it."""
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _first_of(error: Any) -> ValueError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the document"
    message = str(
        first.get("ctx", {}).get("error", first["msg"])
    )  # what a `__post_init__` raised, without a word before it
    return ValueError(f"{place}: {message}")


def _bounded(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
        raise ValueError(f"{digits[:20]}... is out of range")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is not finite")
    if abs(number) > MAX_FLOAT:
        raise ValueError(f"{digits[:20]} is out of range")
    return number
