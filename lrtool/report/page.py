"""What the report page consists of: a verdict, and sections of blocks, in an order that is the same for every command."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from textwrap import dedent
from typing import ClassVar, Literal

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from lrtool.report.grid import Facts, Grid
from lrtool.units import format_bytes

Place = Literal["snippet", "curve", "sweep", "timeline", "budget", "findings", "gates", "details"]
ORDER: tuple[Place, ...] = ("snippet", "curve", "sweep", "timeline", "budget", "findings", "gates", "details")
"""Where a section stands on the page; how to read the numbers and the environment follow all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prose:
    """A paragraph, or a line that heads what follows."""

    template: ClassVar[str] = "prose"
    text: str
    is_head: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Snippet:
    """Code to copy."""

    template: ClassVar[str] = "snippet"
    code: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """An inline SVG with a caption."""

    template: ClassVar[str] = "plot"
    svg: str
    caption: str


Block = Prose | Snippet | Facts | Grid | Plot
Plots = Mapping[str, Plot]
"""The drawn figures of a result, by name."""


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


def some(plots: Plots, *names: str) -> list[Plot]:
    """Of the plots called so those that there are."""
    return [plots[name] for name in names if name in plots]


def most_bytes(figures: Iterable[int | None]) -> str:
    """The largest of those that are known."""
    known = [figure for figure in figures if figure is not None]
    return format_bytes(max(known)) if known else "-"


def blocks_of(parts: Iterable[RenderableType], *, caption: str = "") -> tuple[Block, ...]:
    """What is printed in the terminal as blocks of the page: texts as prose, green ones as code, bold ones as heads; tables
    are blocks already. Lines of one kind that follow each other become one block.
    """
    blocks: list[Block] = []
    for kind, alike in groupby(parts, key=_kind):
        if kind == "table":
            blocks += [_captioned(part, caption) for part in alike if isinstance(part, Grid | Facts)]
            continue
        text = "\n".join((_text_of(part) or "").strip("\n") for part in alike)
        if kind == "code":
            blocks.append(Snippet(code=dedent(text)))
        elif text.strip():
            blocks.append(Prose(text=dedent(text).strip("\n"), is_head=kind == "head"))
    return tuple(blocks)


def _kind(part: RenderableType) -> str:
    if isinstance(part, Grid | Facts):
        return "table"
    inner = _inner(part)
    if not (_text_of(part) or "").strip():
        return "space"
    return {"green": "code", "bold": "head", "bold red": "head"}.get(str(getattr(inner, "style", "")), "text")


def _inner(part: RenderableType) -> RenderableType:
    return part.renderable if isinstance(part, Padding) else part


def _text_of(part: RenderableType) -> str | None:
    inner = _inner(part)
    return inner.plain if isinstance(inner, Text) else inner if isinstance(inner, str) else None


def _captioned(table: Grid | Facts, caption: str) -> Grid | Facts:
    return replace(table, caption=caption) if isinstance(table, Grid) else table
