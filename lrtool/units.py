"""Bytes, learning rates, durations and names: parsed from what people type, formatted for people to read."""

import math
import re

from lrtool.errors import UsageError

_BYTE_UNITS = {
    "": 1, "b": 1,
    "k": 2**10, "kib": 2**10, "kb": 10**3,
    "m": 2**20, "mib": 2**20, "mb": 10**6,
    "g": 2**30, "gib": 2**30, "gb": 10**9,
    "t": 2**40, "tib": 2**40, "tb": 10**12,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


def parse_bytes(text: str) -> int:
    """Bytes of "24GiB", "512 MiB", "1.5g" or a plain number; KB, MB and GB are powers of ten. Raises UsageError."""
    match = _SIZE.fullmatch(text)
    unit = _BYTE_UNITS.get(match.group(2).lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{text!r} is not a size in bytes", hint="write it like 24GiB, 512MiB or 1073741824")
    return round(float(match.group(1)) * unit) if "." in match.group(1) else int(match.group(1)) * unit


def format_bytes(num_bytes: int) -> str:
    """Three significant digits and a binary unit: 0 B, 512 B, 3.58 MiB, 22.3 GiB."""
    magnitude = abs(num_bytes)
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if magnitude >= size * 0.9995:
            return f"{three_digits(num_bytes / size)} {unit}"
    return f"{num_bytes} B"


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
