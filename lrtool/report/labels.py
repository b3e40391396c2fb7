"""Labels with texts: the part of a report that says why, below its tables."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text


def labelled(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Label and text, a row each; the text is folded under itself."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, Text(text) if isinstance(text, str) else text)
    return table
