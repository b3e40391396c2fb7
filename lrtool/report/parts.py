"""What several results write in the same way: figures that may not be known, labelled rows, CSV."""

import csv
import io
from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

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


def labelled(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Label and text, a row each; the text is folded under itself."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, Text(text) if isinstance(text, str) else text)
    return table


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A header and a line for each row; None is an empty field."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()
