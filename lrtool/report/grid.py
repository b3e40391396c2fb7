"""Tables as plain data: the terminal draws them, and the page writes them as HTML."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich import box
from rich.table import Table
from rich.text import Text

Tone = Literal["plain", "bad", "sum", "minor"]
_STYLES: dict[Tone, str] = {"plain": "", "bad": "red", "sum": "bold", "minor": "dim"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column; its heading may have two lines. Only a column that `wraps` gives way where the terminal is narrow."""

    heading: str = ""
    is_number: bool = False
    min_width: int | None = None
    wraps: Literal["never", "between words", "anywhere"] = "never"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of a grid. The tone only repeats what its words say: a trial that ran out of memory, a sum."""

    cells: tuple[str, ...]
    tone: Tone = "plain"
    ends_section: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A table with headings; `gap` is the space on either side of a cell."""

    template: ClassVar[str] = "grid"
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    gap: int = 2
    caption: str = ""

    def __rich__(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, self.gap))
        for column in self.columns:
            table.add_column(
                Text(column.heading),
                justify="right" if column.is_number else "left",
                no_wrap=column.wraps == "never",
                overflow="fold" if column.wraps == "anywhere" else "ellipsis",
                min_width=column.min_width,
            )
        for row in self.rows:
            table.add_row(*map(Text, row.cells), style=_STYLES[row.tone], end_section=row.ends_section)
        return table


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A label and its text, which the terminal may show in a `style`."""

    label: str
    text: str
    style: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Labels, each with a text that is folded under itself."""

    template: ClassVar[str] = "facts"
    rows: tuple[Fact, ...]
    is_numbered: bool = False

    def __rich__(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(
            style="" if self.is_numbered else "dim", justify="right" if self.is_numbered else "left", no_wrap=True
        )
        table.add_column(overflow="fold")
        for fact in self.rows:
            table.add_row(fact.label, Text(fact.text, style=fact.style))
        return table


def numbers(*headings: str, min_width: int | None = None) -> Iterable[Column]:
    """Columns of numbers."""
    return (Column(heading=heading, is_number=True, min_width=min_width) for heading in headings)


def labelled(rows: Iterable[tuple[str, str]]) -> Facts:
    """Label and text, a row each."""
    return Facts(rows=tuple(Fact(label=label, text=text) for label, text in rows))
