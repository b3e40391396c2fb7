"""What several results write in the same way: figures that may not be known, and CSV."""

import csv
import io
from collections.abc import Iterable, Sequence

from lrtool.units import format_bytes, format_lr


def percent(ratio: float | None) -> str:
    """With as many decimals as fit six characters."""
    if not ratio:
        return "-" if ratio is None else "0%"
    return f"{100 * ratio:.2f}%" if 100 * ratio < 9.995 else f"{100 * ratio:.1f}%"


def known_bytes(num_bytes: int | None) -> str:
    """Bytes as people read them, "-" where they are not known."""
    return "-" if num_bytes is None else format_bytes(num_bytes)


def known_lr(lr: float | None) -> str:
    """A learning rate as people read it, "-" where there is none."""
    return "-" if lr is None else format_lr(lr)


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A header and a line for each row; None is an empty field."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()
