"""Labels with text beside them, as results explain themselves in the terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text


def folded(rows: Sequence[tuple[str, str]]) -> Table:
    """Label and text; the text is folded under itself."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, Text(text))
    return table
