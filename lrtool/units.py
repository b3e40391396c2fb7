"""Bytes, learning rates, durations and names: parsed from what people type, formatted for people to read."""

import math
import re

from lrtool.errors import UsageError

_BYTE_UNITS = {
    "": 1, "b": 1,
    "k": 2**10, "ki": 2**10, "kib": 2**10, "kb": 10**3,
    "m": 2**20, "mi": 2**20, "mib": 2**20, "mb": 10**6,
    "g": 2**30, "gi": 2**30, "gib": 2**30, "gb": 10**9,
    "t": 2**40, "tib": 2**40, "tb": 10**12,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2}(?=\s*[a-z]))?\s*([a-z]*)\s*", re.IGNORECASE)
_WITH_COMMA = re.compile(r"\s*(\d+),(\d+)\s*([a-zA-Z]*)\s*")
_LONGEST = 64
LEAST_BARE_BYTES = 2**20
"""Nobody means fewer by a number without a unit: no GPU, no trial and no peak is that small."""
MOST_BYTES = 2**60
_LARGEST_CARD = 192  # GB
_SIZE_HINT = "write it like 24GiB, 512MiB or 1073741824"


def parse_bytes(text: str) -> int:
    """Bytes of "24GiB", "512 MiB", "1.5g" or a plain number; KB, MB and GB are powers of ten. Raises UsageError."""
    found = _number_and_unit(text)
    if found is None:
        raise UsageError(f"{_quoted(text)} is not a size in bytes", hint=_with_point(text) or _SIZE_HINT)
    number, unit = found
    size = _BYTE_UNITS[unit.lower()]
    return int(number) * size if number.isdecimal() else round(float(number) * size)


def parse_memory(text: str) -> int:
    """As parse_bytes, for memory that somebody asks for: a bare number is bytes only where it can be. Raises UsageError."""
    if meant := meant_by(text):
        message = f"{_quoted(text)} is a number without a unit, and as bytes it is too little"
        raise UsageError(message, hint=f"did you mean {' or '.join(meant)}?")
    num_bytes = parse_bytes(text)
    if num_bytes > MOST_BYTES:
        raise UsageError(f"{_quoted(text)} is more memory than there is", hint=_SIZE_HINT)
    return num_bytes


def meant_by(text: str) -> tuple[str, ...]:
    """What a bare number that is too small was meant to be: 24 is 24GiB, 24576 is 24576MiB; in between, either.

    Empty for what has a unit, for 0, and for what may well be bytes.
    """
    number, unit = _number_and_unit(text) or ("0", "")
    value = 0.0 if unit else float(number)
    if not 0 < value < LEAST_BARE_BYTES:
        return ()
    if value >= 1024:
        return (f"{value:.10g}MiB (that is {format_bytes(round(value * 2**20))})",)
    return (f"{value:g}GiB",) if value <= _LARGEST_CARD else (f"{value:g}MiB", f"{value:g}GiB")


def decimal_size(text: str) -> str | None:
    """What to know of a size in powers of ten, "24 GB = 22.4 GiB"; None where it is written otherwise."""
    found = _number_and_unit(text)
    if found is None or not re.fullmatch("[kmgt]b", found[1].lower()):
        return None
    return f"{found[0]} {found[1].upper()} = {format_bytes(parse_bytes(text))}"


def _number_and_unit(text: str) -> tuple[str, str] | None:
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or match[3].lower() not in _BYTE_UNITS:
        return None
    number = match[1] + (match[2] or "")
    return number, match[3]


def _with_point(text: str) -> str | None:
    """The hint for a size that is written with a comma."""
    match = _WITH_COMMA.fullmatch(text)
    if match is None or match[3].lower() not in _BYTE_UNITS:
        return None
    whole, part, unit = match.groups()
    written = [f"{whole}.{part}{unit or 'GiB'}"] + ([f"{whole}{part}{unit}"] if len(part) == 3 and unit else [])
    return f"did you mean {' or '.join(written)}? a size has a point, and no other mark between its digits"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def format_estimate(num_bytes: int, ends: tuple[int, int] | None) -> str:
    """Bytes with the least and the most they may be, "8.30 GiB (7.90 to 9.60)"; without ends they are exact."""
    text = format_bytes(num_bytes)
    if ends is None:
        return text
    low, high = map(format_bytes, ends)
    unit = text.rpartition(" ")[2]
    if low == high == text:
        return text
    short = [each.removesuffix(f" {unit}") for each in (low, high)]
    is_same = all(each != whole for each, whole in zip(short, (low, high), strict=True))
    return f"{text} ({short[0]} to {short[1]})" if is_same else f"{text} ({low} to {high})"


def format_bytes(num_bytes: int) -> str:
    """Three significant digits and a binary unit: 0 B, 512 B, 3.58 MiB, 22.3 GiB."""
    magnitude = abs(num_bytes)
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if magnitude >= size * 0.9995:
            return f"{three_digits(num_bytes / size)} {unit}"
    return f"{num_bytes} B"


def count_of(number: int, noun: str) -> str:
    """ "1 segment", "2,043 segments"."""
    return f"{number:,} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """The noun as it stands after that number."""
    return noun if number == 1 else f"{noun}s"


def three_digits(value: float) -> str:
    """A plain decimal with three significant digits: 0.0123, 3.58, 22.3, 512, 1024."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.2e}")))))
    return f"{value:.{decimals}f}"


def format_lr(lr: float) -> str:
    """A learning rate with three significant digits, as one would paste it: 0.0123, 1.2e-05, 3."""
    return f"{lr:.3g}"


def format_duration(seconds: float) -> str:
    """Seconds as people say them: 0.42 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def printable(text: str) -> str:
    """Text without control characters but for line breaks and tabs: a file name must not steer the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else _spelt(c) for c in text)


def one_line(text: str) -> str:
    """Text without control characters, line breaks and tabs too: a name must not begin a line of its own."""
    return text if text.isprintable() else printable(text.replace("\n", "\\n").replace("\t", "\\t"))


def _spelt(character: str) -> str:
    """As in Python's own texts; what stands for a byte that is no UTF-8, as that byte."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
