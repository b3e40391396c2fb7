"""The known GPUs as a table."""

from rich.console import RenderableType

from lrtool.report.grid import Column, Grid, Row, numbers
from lrtool.results import KnownCard
from lrtool.units import format_bytes


def card_lines(cards: tuple[KnownCard, ...]) -> list[RenderableType]:
    """How many are known, the table, and what it leaves open."""
    context = format_bytes(max(card.context_bytes for card in cards))
    return [
        f"{len(cards)} GPUs are known by name, for --gpu and --capacity.",
        "",
        _table(cards),
        "",
        f"Usable: the total less {context}, which are assumed for the CUDA context.",
        "Without a capability only the memory is known: --capacity takes it, not --gpu.",
        "The mi250x is one of the two devices that its board shows.",
        "",
        "Nothing was written. Next: lrtool mem-sweep digits --gpu rtx4090",
    ]


def _table(cards: tuple[KnownCard, ...]) -> Grid:
    source = Column(heading="source of the memory", wraps="anywhere")
    rows = (
        (
            card.name,
            format_bytes(card.usable_bytes),
            card.capability or "-",
            str(card.num_multiprocessors or "-"),
            card.source,
        )
        for card in cards
    )
    columns = (Column(heading="name"), *numbers("usable", "capability", "SMs"), source)
    return Grid(columns=columns, rows=tuple(Row(cells=cells) for cells in rows), gap=1)
