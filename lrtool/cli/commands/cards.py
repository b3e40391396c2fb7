"""`lrtool cards`: the GPUs that --gpu and --capacity know by name."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from lrtool.cli import options
from lrtool.cli.console import open_terminal
from lrtool.memory.gpus import CARDS, Card

if TYPE_CHECKING:
    from lrtool.results import KnownCard, KnownCards


def command(
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.ColorChoice = "auto",
) -> None:
    """List the GPUs known by name: usable memory, compute capability, multiprocessors, and where the memory is from.

    Needs neither torch nor a GPU. Writes no run directory.

    Examples: lrtool cards | lrtool cards --json
    """
    from lrtool.cli.output import print_document

    terminal = open_terminal(color=options.color(color), quiet=quiet, verbose=verbose)
    known = known_cards()
    if as_json:
        print_document(terminal, asdict(known))
        return
    from lrtool.report.cards import card_lines

    terminal.result(*card_lines(known.cards))


def known_cards() -> "KnownCards":
    """The table of GPUs as a result."""
    from lrtool.results import SCHEMA, KnownCards

    return KnownCards(schema=SCHEMA, command="cards", cards=tuple(map(_known, CARDS.values())))


def _known(card: Card) -> "KnownCard":
    from lrtool.results import KnownCard

    return KnownCard(
        name=card.name,
        title=card.title,
        usable_bytes=card.usable_bytes,
        total_bytes=card.total_bytes,
        context_bytes=card.context_bytes,
        capability=None if card.capability is None else ".".join(map(str, card.capability)),
        num_multiprocessors=card.num_multiprocessors,
        source=card.source,
    )
