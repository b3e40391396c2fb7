"""What looks like a secret is not stored and not shown: a run directory is handed around, and a report page even more."""

import re
from collections.abc import Sequence
from typing import Any

MASK = "***"
_NAME = re.compile(
    r"secret|passw(?:or)?d|passphrase|credential|(?:api|access|private)_?key"
    r"|token(?!i[sz])"  # a tokenizer is none
    r"|auth(?!or(?!i[sz]))",  # an author neither; who authorizes is
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"\bhf_(?:[A-Za-z0-9]{16,}|(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{6,})|\bsk-[\w-]{8,}|\bgh[opsur]_\w{8,}|\bgithub_pat_\w{8,}"
    r"|\bglpat-[\w-]{8,}|\bxox[abprs]-[\w-]{8,}|\bA[KS]IA[0-9A-Z]{12,}"
    r"|(?<![0-9a-zA-Z])[0-9a-fA-F]{40}(?![0-9a-zA-Z])"  # a key of Weights & Biases
    r"|(?<=://)[^/\s@]+(?=@)"
)
_COUNTED = re.compile(r"tokens|token_", re.IGNORECASE)
_NUMBERS = re.compile(r"[\d.,e+-]+")
_ASSIGNED = re.compile(r"([\w-]+)=")


def masked(value: Any, *, name: str = "") -> Any:
    """JSON's plain values, with a mask in place of what is, by its name or by its looks, a secret."""
    if isinstance(value, dict):
        return {key: masked(each, name=str(key)) for key, each in value.items()}
    if value in (None, "", (), []) or isinstance(value, bool):
        return value
    if _is_secret(name, value):
        return MASK
    if isinstance(value, list | tuple):
        return type(value)(masked(each) for each in value)
    return masked_text(value) if isinstance(value, str) else value


def masked_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line, `--param token=...` without what follows the equals sign."""
    return tuple(map(_masked_argument, arguments))


def masked_text(text: str) -> str:
    return _VALUE.sub(MASK, text)


def _masked_argument(argument: str) -> str:
    for found in _ASSIGNED.finditer(argument):
        if _is_secret(found[1], argument[found.end() :]):
            return argument[: found.end()] + MASK
    return masked_text(argument)


def _is_secret(name: str, value: Any) -> bool:
    """By its name; where it is a number of tokens it is none: `max_tokens=4096`, `pad_token_id=0`."""
    if _COUNTED.search(name) and _NUMBERS.fullmatch(str(value)):
        name = _COUNTED.sub("", name)
    return _NAME.search(name.replace("-", "_")) is not None
