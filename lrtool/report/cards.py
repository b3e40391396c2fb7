"""The known GPUs as a table."""

from rich import box
from rich.console import RenderableType
from rich.table import Table

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


def _table(cards: tuple[KnownCard, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    for heading in ("usable", "capability", "SMs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("source of the memory", overflow="fold")
    for card in cards:
        table.add_row(
            card.name,
            format_bytes(card.usable_bytes),
            card.capability or "-",
            str(card.num_multiprocessors or "-"),
            card.source,
        )
    return table
