"""What the report page consists of: a verdict, and sections of blocks, in an order that is the same for every command."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Place = Literal["snippet", "curve", "sweep", "timeline", "budget", "findings", "cures", "gates", "details"]
ORDER: tuple[Place, ...] = ("snippet", "curve", "sweep", "timeline", "budget", "findings", "cures", "gates", "details")
"""Where a section stands on the page; how to read the numbers and the environment follow all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prose:
    """A paragraph."""

    template: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Snippet:
    """Code to copy."""

    template: ClassVar[str] = "snippet"
    code: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Labels, each with a text."""

    template: ClassVar[str] = "facts"
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    heading: str
    is_number: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of a grid; one that is marked (a trial that died) is so in words too."""

    cells: tuple[str, ...]
    is_marked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A table with headings."""

    template: ClassVar[str] = "grid"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """An inline SVG with a caption."""

    template: ClassVar[str] = "plot"
    svg: str
    caption: str


Block = Prose | Snippet | Facts | Grid | Plot


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading and what stands below it; `place` decides where on the page."""

    place: Place
    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A run's report: its answer in one sentence, the numbers to take away, its sections, and the terms they use."""

    verdict: str
    numbers: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    terms: tuple[str, ...]

    @property
    def ordered(self) -> list[Section]:
        return sorted(self.sections, key=lambda section: ORDER.index(section.place))


def blocks_of(parts: Iterable[RenderableType], *, caption: str = "") -> tuple[Block, ...]:
    """What is printed in the terminal as blocks of the page: texts as prose, tables as grids, tables of labels as facts.

    Consecutive lines become one paragraph; an empty one ends it.
    """
    blocks: list[Block] = []
    lines: list[str] = []
    for part in [*parts, ""]:
        text = _text_of(part)
        if text is not None and text.strip():
            lines.append(text.strip("\n"))
            continue
        blocks += [Prose(text="\n".join(lines))] if lines else []
        lines = []
        if isinstance(part, Table):
            blocks.append(_table(part, caption))
    return tuple(blocks)


def _text_of(part: RenderableType) -> str | None:
    inner = part.renderable if isinstance(part, Padding) else part
    return inner.plain if isinstance(inner, Text) else inner if isinstance(inner, str) else None


def _table(table: Table, caption: str) -> Facts | Grid:
    rows = list(zip(*([_text_of(cell) or "" for cell in column.cells] for column in table.columns), strict=True))
    if not table.show_header and len(table.columns) == 2:
        return Facts(rows=tuple((label, text) for label, text in rows))
    return Grid(
        caption=caption,
        columns=tuple(
            Column(heading=" ".join((_text_of(column.header) or "").split()), is_number=column.justify == "right")
            for column in table.columns
        ),
        rows=tuple(Row(cells=cells, is_marked=bool(row.style)) for cells, row in zip(rows, table.rows, strict=True)),
    )
